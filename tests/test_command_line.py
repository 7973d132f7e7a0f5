"""The console script: shells complete its commands and the words of its options."""

import os
import subprocess
import sys

import pytest

from course_utils.config import profile_names
from course_utils.methods import METHODS
from course_utils.paths import PROJECT


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The console script, as an installer writes it."""
    script = tmp_path_factory.mktemp("bin") / "peft-course"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom course_utils.__main__ import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return script


def said(*command, **variables):
    """Exit status and what is printed."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "COLUMNS": "200"} | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("peft-course ", {"run", "train", "predict", "audit", "doctor"}),
        ("peft-course train --me", {"--method"}),
        ("peft-course train --method ", set(METHODS)),
        ("peft-course run --profile ", set(profile_names())),
    ],
)
def test_a_shell_completes_what_was_typed(program, typed, offered):
    last = len(typed.split(" ")) - 1
    words = {"COMP_WORDS": typed.strip() if typed.endswith(" ") else typed, "COMP_CWORD": str(last)}
    status, printed = said(program, _PEFT_COURSE_COMPLETE="complete_bash", **words)
    assert status == 0 and offered <= set(printed.split())
    assert "notebook" not in printed  # a step of the workflow


def test_the_script_for_the_shell_names_the_program(program):
    status, printed = said(program, _PEFT_COURSE_COMPLETE="source_bash")
    assert status == 0 and "complete -o default -F" in printed and "peft-course" in printed


def test_only_the_program_offers_to_install_completion(program):
    assert "--install-completion" in said(program, "--help")[1]
    assert "completion" not in said(sys.executable, "-m", "course_utils", "--help")[1]
