"""The console script: shells complete what is typed. What a command says to type next is about the same experiment."""

import os
import subprocess
import sys

import pytest

from course_utils.__main__ import main
from course_utils.code_identity import KEEP_OLD_RUNS
from course_utils.comparison import published
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


@pytest.mark.parametrize("command", ["compare --profile smoke", "rates --profile full", "compare --profile language"])
def test_a_command_to_type_next_has_the_options_that_were_typed(command, runs_in, capsys):
    typed = ["-p", "class_names=bad one,good", "-p", "max_train=30"][2 * ("language" in command) :]
    assert main([*command.split(), *typed]) == 2
    named = command.partition(" ")[2]
    said = f"./run_all.sh {named} " + "-p 'class_names=bad one,good' " * ("language" not in command) + "-p max_train=30"
    assert said in capsys.readouterr().err


def test_rates_of_a_profile_without_a_search_are_not_sent_for_runs(runs_in, capsys):
    assert main(["rates", "--profile", "smoke"]) == 2
    said = capsys.readouterr().err
    assert "has no [search]" in said and "run_all.sh" not in said


def test_what_goes_on_from_records_has_the_options_that_were_typed(runs_in, capsys, monkeypatch):
    monkeypatch.setattr(published, "restore_runs", lambda experiment: [])
    monkeypatch.setenv(KEEP_OLD_RUNS, "")  # which the option sets for the whole process
    assert main(["restore", "--profile", "smoke", "-p", "max_train=30", "-p", "seeds=2", "--keep-old-runs"]) == 0
    said = capsys.readouterr().out
    assert "; ./run_all.sh --profile smoke -p max_train=30 -p seeds=2 --keep-old-runs makes every run" in said
