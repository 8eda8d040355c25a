"""JupyterLab on a scratch copy of the notebooks in the smoke profile, and a page of headless Chromium."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMOKE = ROOT / ".artefacts/smoke"  # what `make notebooks-test` trained is read; what is missing is trained once
SHOTS = Path(os.environ.get("BROWSER_SHOTS") or ROOT / ".artefacts/browser")
WIDTH, HEIGHT = 1280, 900  # px
QUIET = {  # no news, no look for updates; all cells in the page at once, so that they can be asked
    "@jupyterlab/apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false"},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab.

    Attributes:
        url: its address; token: what it asks for.
    """

    url: str
    token: str

    def address(self, notebook: str) -> str:
        """Of a notebook in a workspace of its own."""
        return f"{self.url}/lab/workspaces/{secrets.token_hex(4)}/tree/{notebook}?token={self.token}"


def in_smoke(path: Path, folder: Path) -> None:
    """A copy whose settings cell ends with the smoke profile's values."""
    notebook = nbformat.read(path, as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in cell.metadata["nbmake"]["mock"].items())
    nbformat.write(notebook, folder / path.name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    for path in NOTEBOOKS:
        in_smoke(path, folder)
    settings = folder / ".settings"
    for plugin, values in QUIET.items():
        path = settings / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    port, token = free_port(), secrets.token_hex(8)
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / ".workspaces"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "OMP_NUM_THREADS": "1",
        **{f"CIFAR_{kind.upper()}": str(SMOKE / kind) for kind in ("runs", "figures", "cache")},
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}"]
    log = folder / ".lab.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [*command, f"--IdentityProvider.token={token}"], env=environment, cwd=folder, stdout=out, stderr=out
        )
    try:
        found = Lab(f"http://127.0.0.1:{port}", token)
        wait_for(server, found, log)
        yield found
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(server: subprocess.Popen, lab: Lab, log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{lab.url}/api?token={lab.token}", timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.set_default_timeout(30_000)
    yield page
    page.close()


@pytest.fixture
def shot(page):
    """Take a screenshot for whoever looks at the CI's artefacts."""
    SHOTS.mkdir(parents=True, exist_ok=True)

    def take(name: str) -> None:
        page.screenshot(path=SHOTS / f"{name}.png")

    return take
