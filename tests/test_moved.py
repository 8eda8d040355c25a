"""Old names are answered with the new place."""

import importlib
import subprocess
import sys

import pytest

from cifar_helpers import moved


@pytest.mark.parametrize("name", [*moved.RENAMED, "compare", "optim", "surface", "widgets", "worker"])
def test_every_new_place_is_there(name):
    assert importlib.import_module(moved.place(name))


@pytest.mark.parametrize("line", ["from cifar_helpers import compare", "from cifar_helpers.record import Store"])
def test_an_old_import_is_told_where_to_look(line):
    with pytest.raises(ImportError, match=r"is now cifar_helpers\.\w+\.\w+\. In a notebook, take the import cell"):
        exec(line, {})


def test_a_queued_job_that_names_the_old_worker_is_told_in_a_sentence(tmp_path):
    command = [sys.executable, "-m", "cifar_helpers.worker", "plan.json"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=600)
    assert done.returncode and "is now cifar_course.cluster.worker" in done.stderr and "Traceback" not in done.stderr


def test_a_name_that_never_was_is_python_s_own_error():
    with pytest.raises(ModuleNotFoundError, match="No module named 'cifar_helpers.nothing'"):
        importlib.import_module("cifar_helpers.nothing")
