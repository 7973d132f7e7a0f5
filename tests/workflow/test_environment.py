"""The course sets itself up: from a package index alone, once, and again after every way of going wrong."""

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
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from course_utils import environment
from course_utils.paths import PROJECT

CUDA = ("nvidia-", "cuda-", "triton")  # what torch's CUDA builds bring and its CPU build does not


def test_lock_pins_everything_that_its_packages_need():
    pins = {canonicalize_name(name) for name in environment.pins()}
    needed = {
        canonicalize_name(Requirement(text).name)
        for name in pins
        for text in metadata.requires(name) or []
        if (Requirement(text).marker is None or Requirement(text).marker.evaluate({"extra": ""}))
    }
    assert {name for name in needed - pins if not name.startswith(CUDA)} == set()


def test_lock_holds_nothing_that_only_one_machine_has():
    assert environment.pins()["torch"] == "2.13.0"
    assert all(re.fullmatch(r"[\w.]+", version) for version in environment.pins().values())


def test_lock_suits_the_oldest_python_that_is_promised():
    refused = {
        name: needed
        for name in environment.pins()
        if (needed := metadata.metadata(name)["Requires-Python"]) and not SpecifierSet(needed).contains("3.11.0")
    }
    assert not refused


def test_pyproject_and_conda_environment_agree_with_the_lock():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    pins = {canonicalize_name(name): version for name, version in environment.pins().items()}
    for requirement in map(Requirement, project["dependencies"]):
        assert str(requirement.specifier) == f"=={pins[canonicalize_name(requirement.name)]}"

    conda = yaml.safe_load((PROJECT / "environment.yml").read_text())["dependencies"]
    python = next(item for item in conda if str(item).startswith("python="))
    assert Requirement(f"python{project['requires-python']}").specifier.contains(python.partition("=")[2])
    assert {"pip": ["-r requirements.lock", "-e ."]} in conda


def test_this_python_satisfies_the_lock():
    assert environment.satisfied()


@pytest.mark.parametrize("pin", ["no-such-package==1.0", "numpy==0.1"])
def test_another_version_or_a_missing_package_does_not_satisfy_the_lock(tmp_path, pin):
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"rich=={metadata.version('rich')}\n{pin}  # why\n")
    assert not environment.satisfied(lock)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout, in a folder with a space, whose lock needs one package, which an offline folder of wheels has."""
    for name in os.environ:
        if name.startswith(("PIP_", "VIRTUAL_ENV", "CONDA", "PYTHON")):
            monkeypatch.delenv(name)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "needed-1.0-py3-none-any.whl", "w") as wheel:
        about = "needed-1.0.dist-info"
        wheel.writestr("needed.py", "answer = 42\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: needed\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", wheels.as_uri())

    folder = tmp_path / "a checkout"
    (folder / "course_utils").mkdir(parents=True)
    for name in ("environment.sh", "environment.py"):
        shutil.copy(PROJECT / "course_utils" / name, folder / "course_utils")
    shutil.copy(PROJECT / "run_all.sh", folder)
    (folder / "course_utils" / "__init__.py").touch()
    (folder / "course_utils" / "__main__.py").write_text(
        "import json, sys, needed\nprint(json.dumps([needed.answer, sys.argv, sys.prefix, sys.path]))\n"
    )
    (folder / "requirements.lock").write_text("needed==1.0\n")
    return folder


def start(checkout, *options, **environment):
    return subprocess.run(
        [checkout / "run_all.sh", *options],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


def test_first_start_makes_the_environment_and_the_next_one_uses_it(checkout, tmp_path):
    (tmp_path / "stray").mkdir()
    (tmp_path / "stray" / "needed.py").write_text("answer = 'from PYTHONPATH'")
    first = start(checkout, "-p", "a=b c", PYTHONPATH=str(tmp_path / "stray"))
    assert first.returncode == 0, first.stderr
    answer, arguments, prefix, path = json.loads(first.stdout)
    assert answer == 42
    assert arguments[1:] == ["run", "-p", "a=b c"]
    assert Path(prefix) == checkout / ".venv"
    assert str(tmp_path / "stray") not in path
    assert "logs/set-up.log" in first.stderr and (checkout / "logs" / "set-up.log").is_file()

    second = start(checkout)
    assert (second.returncode, second.stderr) == (0, "")
    anywhere = [checkout / ".venv/bin/python", "-c", "import course_utils; print(course_utils.__file__)"]
    assert str(checkout) in subprocess.check_output(anywhere, cwd="/", text=True)


def test_an_environment_that_was_left_half_made_is_finished(checkout):
    start(checkout)
    (checkout / ".venv" / "set-up").unlink()
    site = next((checkout / ".venv" / "lib").glob("python*/site-packages"))
    (site / "needed.py").unlink()  # as a killed pip leaves it: files missing, RECORD not yet there
    (site / "needed-1.0.dist-info" / "RECORD").unlink()
    again = start(checkout)
    assert again.returncode == 0, again.stderr

    moved = checkout.rename(checkout.with_name("moved"))
    assert start(moved).returncode == 0
    assert str(moved) in (moved / ".venv" / "bin" / "pip").read_text()


def test_two_first_starts_do_not_collide(checkout):
    both = [
        subprocess.Popen([checkout / "run_all.sh"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert sum("waiting for it" in stderr for _, stderr in ends) == 1
    assert sum("Setting up" in stderr for _, stderr in ends) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PIP_NO_INDEX": "", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}, "check the network"),
        ({"PATH": "/nowhere"}, "Python 3.11 or newer is needed"),
    ],
    ids=["no network", "no Python"],
)
def test_what_cannot_be_set_up_is_said_in_one_sentence(checkout, tmp_path, settings, said):
    for tool in ("dirname", "sh"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    (checkout / "requirements.lock").write_text("unheard-of==1.0\n")
    failed = start(checkout, **{k: str(tmp_path / "bin") if k == "PATH" else v for k, v in settings.items()})
    assert failed.returncode == 1
    assert said in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr


def test_an_environment_that_a_link_leads_to_is_left_alone(checkout, tmp_path):
    (tmp_path / "another's" / "bin").mkdir(parents=True)
    (checkout / ".venv").symlink_to(tmp_path / "another's")
    refused = start(checkout)
    assert refused.returncode == 1
    assert refused.stderr.startswith(".venv is a link to ") and refused.stderr.count("\n") == 1
    assert (tmp_path / "another's" / "bin").is_dir()


def test_a_python_without_venv_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(environment.util, "find_spec", lambda name: None)
    with pytest.raises(environment.SetUpError, match=f"apt install python3.{sys.version_info.minor}-venv"):
        environment.make_venv(0)


def test_notebooks_are_committed_without_outputs():
    # Asked of git, for in the working tree JupyterLab saves what a reader ran.
    names = subprocess.run(["git", "ls-files", "notebooks"], cwd=PROJECT, capture_output=True, text=True).stdout.split()
    if not names:
        pytest.skip("an unpacked archive has nothing committed")
    for name in names:
        notebook = subprocess.check_output(["git", "show", f":{name}"], cwd=PROJECT, text=True, encoding="utf-8")
        code = [cell for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
        assert not any(cell["outputs"] or cell["execution_count"] for cell in code), f"{name}: clear its outputs"
