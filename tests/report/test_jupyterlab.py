"""A reader opens a notebook in JupyterLab, runs all of it in a browser, and sees what the book promises.

Needs tests/requirements-browser.txt and Debian's Chromium; without them the test is skipped, and says so.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from small import ADAPTER
from test_browser import browser  # noqa: F401

from course_utils.paths import PROJECT

pytestmark = pytest.mark.slow

playwright = pytest.importorskip(
    "playwright.sync_api",
    reason="JupyterLab was not tried in a browser: type pip install -r tests/requirements-browser.txt",
)
MINUTE = 60_000  # milliseconds


@pytest.fixture
def lab(tmp_path, runs_in):
    """A JupyterLab started as the README says, by a user without settings or runs of their own: its record of itself.

    The record holds the server's url, token and pid.
    """
    settings = tmp_path / "config" / "lab" / "user-settings" / "@jupyterlab" / "docmanager-extension"
    settings.mkdir(parents=True)
    # A run that takes minutes would be saved into the notebook.
    (settings / "plugin.jupyterlab-settings").write_text('{"autosave": false}')
    folders = {name: str(tmp_path / name) for name in ("config", "data", "runtime")}
    own = {f"JUPYTER_{name.upper()}_DIR": folder for name, folder in folders.items()}
    jupyter = Path(sys.executable).with_name("jupyter")
    with open(tmp_path / "lab.log", "w") as log:
        server = subprocess.Popen(
            [jupyter, "lab", "notebooks", "--no-browser", "--allow-root", "--port=0"],
            cwd=PROJECT,
            env=os.environ | own | {"JUPYTER_TOKEN": "token", "IPYTHONDIR": str(tmp_path / "ipython")},
            stdout=log,
            stderr=log,
        )
    record = tmp_path / "runtime" / f"jpserver-{server.pid}.json"
    while server.poll() is None and not (record.exists() and record.stat().st_size):
        time.sleep(0.2)
    assert server.poll() is None, (tmp_path / "lab.log").read_text()
    yield json.loads(record.read_text())
    processes = [*psutil.Process(server.pid).children(recursive=True), server]
    server.terminate()
    try:
        server.wait(timeout=60)
    except subprocess.TimeoutExpired:  # a signal in the midst of a line of its log can stop a server for ever
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        server.wait()


@pytest.fixture
def page(browser):  # noqa: F811
    """An empty page of a headless Chromium."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(2 * MINUTE)
    return page


def test_a_notebook_trains_and_runs_to_its_end_in_jupyterlab(lab, page, runs_in):
    notebook = PROJECT / "notebooks" / "02_lora.ipynb"
    as_committed = notebook.read_bytes()

    page.goto(f"{lab['url']}lab/tree/{notebook.name}?token={lab['token']}")
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=5 * MINUTE)  # has a kernel
    page.get_by_text('"quick"', exact=True).dblclick()  # marks the word inside the quotes
    page.keyboard.type("smoke")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    waiting = page.locator(".jp-InputPrompt", has_text="[*]")
    waiting.first.wait_for()
    playwright.expect(waiting).to_have_count(0, timeout=10 * MINUTE)

    shown = page.locator(".jp-OutputArea-output")
    assert shown.and_(page.locator("[data-mime-type$=error]")).all_text_contents() == []
    assert shown.and_(page.locator("[data-mime-type$=stderr]")).all_text_contents() == []
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()
    in_order = [f"[{number}]:" for number in range(1, len(prompts) + 1)]
    folded = sum(not prompt for prompt in prompts)  # such a cell shows no number until it is unfolded
    assert folded == as_committed.count(b'"source_hidden": true')
    assert all(prompt in (number, "") for prompt, number in zip(prompts, in_order, strict=True))

    assert (runs_in / "smoke" / "main" / ADAPTER / "seed-0" / "result.json").is_file()
    bars = page.locator("progress").all()  # of every run that the chapter trains
    assert bars and all(bar.get_attribute("value") == bar.get_attribute("max") for bar in bars)

    figures = page.locator(".jp-OutputArea-output img").all()
    assert figures
    for figure in figures:
        figure.scroll_into_view_if_needed()
        assert figure.bounding_box()["width"] > 300
        assert figure.get_attribute("src").startswith("data:image/svg+xml")
        assert len(figure.get_attribute("alt").split()) > 5
    table = page.locator(".jp-OutputArea-output table:has(th:text-is('effective rank'))")
    table.scroll_into_view_if_needed()
    assert table.locator("tbody tr").count() == 12  # query and value in six blocks

    assert page.locator(".jp-KernelName").inner_text() == "Python 3 (ipykernel)"
    commands = [child.cmdline() for child in psutil.Process(lab["pid"]).children(recursive=True)]
    [python] = [command[0] for command in commands if "ipykernel_launcher" in command]
    assert os.path.samefile(Path(python).parent, Path(sys.executable).parent)
    questions = page.locator(".Toastify__toast, .jp-Dialog")  # about news, a build, the kernel
    assert questions.all_text_contents() == []

    page.close()
    assert notebook.read_bytes() == as_committed
