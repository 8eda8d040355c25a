"""The three cells of docs/cloud.md, in a kernel that has torch and was started before the course was there."""

import json
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CELLS = re.findall(r"```ipython3\n(.*?)\n```", (ROOT / "docs/cloud.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Runs code in a kernel of an environment of its own, which sees this one's packages but not the course."""
    from jupyter_client.manager import start_new_kernel

    venv.create(tmp_path / "env", with_pip=False)
    python = str(tmp_path / "env" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(ask, capture_output=True, encoding="utf-8", check=True).stdout.strip())
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))  # whose own .pth files are not read
    spec = {"argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "bare"}
    (tmp_path / "jupyter/kernels/bare").mkdir(parents=True)
    (tmp_path / "jupyter/kernels/bare/kernel.json").write_text(json.dumps(spec | {"language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    manager, client = start_new_kernel(kernel_name="bare", cwd=str(tmp_path))

    def run(source: str) -> str:
        """What the code prints, or the name of its error."""
        said = []

        def hear(message):
            content = message["content"]
            said.append(content.get("text", "") if message["msg_type"] == "stream" else content.get("ename", ""))

        client.execute_interactive(source, output_hook=hear, timeout=240)
        return "".join(said).strip()

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_the_cells_work_where_the_kernel_came_first(kernel, tmp_path):
    clone, install, find = CELLS
    assert clone == "!git clone --depth 1 ADDRESS cifar-course" and install == "%pip install --quiet -e cifar-course"
    assert kernel("import cifar_helpers") == "ModuleNotFoundError"
    subprocess.run(["git", "clone", "-q", "--depth", "1", ROOT.as_uri(), tmp_path / "cifar-course"], check=True)
    assert "Error" not in kernel(f"{install} --no-deps --no-build-isolation")  # no network in a test
    assert kernel("import cifar_helpers") == "ModuleNotFoundError"  # what the third cell is for
    assert not kernel(find)
    seen = kernel("from cifar_helpers import env, notebook; print(env.ROOT)")
    assert seen == str(tmp_path / "cifar-course")
    beside = "import cifar_course; print(cifar_course.__path__[0])"  # a worker's own Python, in another folder
    assert kernel(f"!cd / && {{sys.executable}} -c '{beside}'") == str(tmp_path / "cifar-course/cifar_course")
