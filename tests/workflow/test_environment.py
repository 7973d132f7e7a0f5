"""The course sets itself up: from a package index alone, once, and again after every way of going wrong."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from course_utils.paths import PROJECT
from course_utils.workflow import environment

pytestmark = pytest.mark.slow

CUDA = ("nvidia-", "cuda-", "triton")  # what torch's CUDA builds bring and its CPU build does not
PYPROJECT = """[project]\nname = "course-utils"\nversion = "1"\ndependencies = ["needed==1.0"]
[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n"""
BACKEND = """import zipfile\nabout = "course_utils-1.dist-info/"
def build_editable(folder, *_):
    with zipfile.ZipFile(f"{folder}/course_utils-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("course.pth", __file__.rpartition("/")[0])
        wheel.writestr(about + "METADATA", "Metadata-Version: 2.1\\nName: course-utils\\nVersion: 1\\n")
        wheel.writestr(about + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(about + "RECORD", "")
    return "course_utils-1-py3-none-any.whl"\n"""
# A stand-in for `uv pip install --python P …`.
UV = '#!/bin/sh\nenv > "$0.saw"\nshift 4\nexec "$(dirname "$0")/python" -m pip install "$@"\n'


def test_lock_has_what_its_packages_need_with_a_hash_of_every_file():
    lock = environment.LOCK.read_text()
    entries = re.split(r"\n(?=[\w.-]+==)", lock.split("\n\n")[-1])
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)
    pins = {canonicalize_name(name): version for name, version, _ in environment.pins()}
    needed = {canonicalize_name(need.name): need for name in pins for need in map(Requirement, requires(name))}
    assert not {name for name in needed if name not in pins and not name.startswith(CUDA)}
    assert not {name for name in pins if name.startswith(CUDA)} and "torch==" not in lock
    assert all(re.fullmatch(r"[\w.]+", version) for version in pins.values())


def requires(name):
    try:
        needs = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # for other systems
        return []
    return [need for need in needs if not (marker := Requirement(need).marker) or marker.evaluate({"extra": ""})]


def test_lock_suits_the_oldest_python_that_is_promised():
    names = {name for name, _, _ in environment.pins()}
    found = {each.name.lower(): each.metadata["Requires-Python"] for each in metadata.distributions()}
    assert not [name for name in names if not SpecifierSet(found.get(name) or "").contains("3.11.0")]


def test_pyproject_agrees_with_the_lock():
    project = tomllib.loads(environment.ABOUT.read_text())["project"]
    lock = environment.LOCK.read_text()
    for pin in map(Requirement, project["dependencies"]):
        assert pin.name == "torch" or f"\n{canonicalize_name(pin.name)}{pin.specifier} " in lock


@pytest.mark.parametrize(
    ("pin", "good"),
    [("", True), ("unheard-of==1.0 ; sys_platform == 'x'", True), ("unheard-of==1.0", False), ("numpy==0.1", False)],
)
def test_an_environment_satisfies_the_lock_if_it_has_every_package_in_its_version(tmp_path, pin, good):
    (tmp_path / "lock").write_text(f"rich=={metadata.version('rich')} \\\n    --hash=sha256:0\n{pin}\n")
    assert environment.satisfied(tmp_path / "lock") is good


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout, in a folder with a space, that needs one package; pip is set to a folder with that and a fake uv."""
    for name in os.environ:
        if name.startswith(("PIP_", "UV_", "VIRTUAL_ENV", "CONDA", "PYTHON", "SSL_")):
            monkeypatch.delenv(name)
    folder, wheels = tmp_path / "a checkout", tmp_path / "wheels"
    wheels.mkdir()
    settings = f"no-index = true\nfind-links = {wheels.as_uri()}\ncert = {__file__}\n"
    (tmp_path / "pip.conf").write_text(f"[global]\n{settings}")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    shutil.copytree(PROJECT / "course_utils" / "workflow", folder / "course_utils" / "workflow")
    shutil.copy(PROJECT / "run_all.sh", folder)
    (folder / "course_utils" / "__init__.py").touch()
    (folder / "course_utils" / "__main__.py").write_text(
        "import json, sys, needed\nprint(json.dumps([needed.answer, sys.argv, sys.prefix, sys.path]))\n"
    )
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    for lock, name, file, text in (
        ("requirements", "needed", "needed.py", "answer = 42\n"),
        ("installer", "uv", "uv-1.0.data/scripts/uv", UV),
    ):
        with zipfile.ZipFile(wheels / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(entry := zipfile.ZipInfo(file), text)
            entry.external_attr = 0o100755 << 16  # a file that may be run; the archive's directory is written last
            about = f"{name}-1.0.dist-info"
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
        digest = hashlib.sha256((wheels / f"{name}-1.0-py3-none-any.whl").read_bytes()).hexdigest()
        (folder / f"{lock}.lock").write_text(f"{name}==1.0 \\\n    --hash=sha256:{digest}\n")
    return folder


@pytest.fixture(scope="module")
def with_pip(tmp_path_factory):
    """A function that gives a checkout the environment that older locks have left: one with pip alone."""
    made = tmp_path_factory.mktemp("older") / ".venv"
    subprocess.run([sys.executable, "-I", "-m", "venv", made], check=True)

    def give(checkout):
        venv = shutil.copytree(made, checkout / ".venv", symlinks=True)
        (venv / "set-up").write_text(f"older {venv}\n")

    return give


def start(checkout, *options, **variables):
    command = [checkout / "run_all.sh", *options]
    return subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )


def test_a_start_makes_the_environment_and_finishes_one_that_was_half_made_or_moved(checkout, tmp_path):
    (tmp_path / "needed.py").write_text("answer = 'from PYTHONPATH'")
    first = start(checkout, "-p", "a=b c", PYTHONPATH=str(tmp_path), UV_CACHE_DIR="mine")
    answer, arguments, prefix, path = json.loads(first.stdout)
    assert (answer, arguments[1:], Path(prefix)) == (42, ["run", "-p", "a=b c"], checkout / ".venv")
    assert str(tmp_path) not in path and (checkout / "logs" / "set-up.log").is_file()
    saw = (checkout / ".venv" / "bin" / "uv.saw").read_text().splitlines()
    wanted = {"UV_OFFLINE=true", f"UV_FIND_LINKS={tmp_path.as_uri()}/wheels", f"SSL_CERT_FILE={__file__}"}
    assert wanted | {"UV_CACHE_DIR=mine"} <= set(saw)

    again = start(checkout)
    assert (again.returncode, again.stderr) == (0, "")
    anywhere = [checkout / ".venv/bin/python", "-c", "import course_utils; print(course_utils.__file__)"]
    assert str(checkout) in subprocess.check_output(anywhere, cwd="/", text=True)

    (checkout / ".venv" / "set-up").write_text(environment.UNFINISHED)
    next((checkout / ".venv" / "lib").glob("python*/site-packages/needed.py")).unlink()  # a killed installer's work
    assert start(checkout, VIRTUAL_ENV=str(checkout / ".venv")).returncode == 0

    moved = checkout.rename(checkout.with_name("moved"))
    assert start(moved).returncode == 0
    assert str(moved) in (moved / ".venv" / "bin" / "pip").read_text()


def test_without_uv_pip_installs_and_a_second_start_waits_for_the_first(checkout, with_pip, tmp_path):
    with_pip(checkout)
    next((tmp_path / "wheels").glob("uv-*")).unlink()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([checkout / "run_all.sh"], **pipes) for _ in range(2)]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert sum("waiting" in stderr for _, stderr in ends) == sum("pip installs" in stderr for _, stderr in ends) == 1


@pytest.mark.parametrize("broken", ["hash", "index", "python", "venv"])
def test_what_cannot_be_set_up_is_said_in_one_sentence(checkout, with_pip, tmp_path, broken):
    command = [sys.executable, "-c", "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"]
    lock, variables = checkout / "requirements.lock", {}
    if broken in ("hash", "index"):
        with_pip(checkout)
    if broken == "hash":
        lock.write_text(re.sub("sha256:.{9}", "sha256:000000000", lock.read_text()))
    elif broken == "index":
        settings = "[global]\nindex-url = http://127.0.0.1:9/simple\nretries = 0\n"
        (tmp_path / "pip.conf").write_text(settings)
    elif broken == "venv":
        command[2] = "import runpy, sys; sys.modules['venv'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    else:
        variables, command = {"PATH": "/nowhere"}, ["/bin/sh"]
    script = checkout / "course_utils" / "workflow" / f"environment.{'sh' if broken == 'python' else 'py'}"
    failed = subprocess.run([*command, script], env=os.environ | variables, capture_output=True, text=True)
    assert (failed.returncode, failed.stdout) == (1, "") and "Traceback" not in failed.stderr
    names = {"hash": "hash", "index": "network", "python": "3.11", "venv": f"3.{sys.version_info.minor}-venv"}
    assert names[broken] in failed.stderr.splitlines()[-1]
    assert ("set-up.log" in failed.stderr) == (broken in ("hash", "index"))


@pytest.mark.parametrize("link", [True, False])
def test_an_environment_that_set_up_did_not_make_is_left_alone(checkout, tmp_path, link):
    (tmp_path / "another's" / "bin").mkdir(parents=True)
    if link:
        (checkout / ".venv").symlink_to(tmp_path / "another's")
    else:
        (tmp_path / "another's").rename(checkout / ".venv")
    refused = start(checkout)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert os.listdir(checkout / ".venv") == ["bin"]


def test_uv_from_the_index_installs_with_what_pip_is_set_to(checkout, with_pip, monkeypatch):
    if not shutil.which("uv", path=Path(sys.executable).parent):
        pytest.skip("set-up had no uv here")
    with_pip(checkout)
    shutil.copy(PROJECT / "installer.lock", checkout)
    monkeypatch.delenv("PIP_CONFIG_FILE")
    monkeypatch.setenv("PIP_FIND_LINKS", str(checkout.parent / "wheels"))
    done = start(checkout)
    assert done.returncode == 0 and "pip installs" not in done.stderr, done.stderr
    assert "needed==1.0" in (checkout / "logs" / "set-up.log").read_text()
