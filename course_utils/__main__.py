"""The command line: python -m course_utils COMMAND; every command imports only what it needs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from course_utils.display import one_line
from course_utils.errors import CourseError
from course_utils.paths import check_writable, reports_folder
from course_utils.refusals import refusal

COMMANDS = {
    "run": "run the whole workflow: assets, runs, notebooks, report (what run_all.sh calls)",
    "train": "train one run, or find it trained",
    "predict": "classify sentences with a trained run",
    "fetch": "get the embedded encoder and sentences",
    "audit": "check what a model card claims against what can be recomputed",
    "report": "bind an experiment's executed notebooks into HTML and PDF, and write its comparison.csv",
    "rates": "say which learning rates an experiment's search found, as lines for a profile",
    "push": "put a run's adapter, with its card, on the Hugging Face Hub",
    "doctor": "say what this machine can do and which profile fits it",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; exit status 0 when it did what was asked, 2 when the reader can put it right."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m course_utils COMMAND [options]\n")
        for name, purpose in COMMANDS.items():
            print(f"  {name:<8} {purpose}")
        print("\npython -m course_utils COMMAND --help tells more.")
        return 0
    return exit_status(_command, arguments)


def exit_status(work: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    """Do `work(arguments)` and return its exit status; what the reader can put right is said in one sentence."""
    try:
        return work(arguments) or 0
    except KeyboardInterrupt:
        print("\nStopped. What is finished is kept; the same command goes on from here.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read this, perhaps head, wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        said = error if isinstance(error, CourseError) else refusal(error)
        if said is None:
            raise
        print(f"error: {one_line(str(said))}", file=sys.stderr)  # names of files can hold what steers a terminal
        return 2


def _command(arguments: list[str]) -> int | None:
    name, *rest = arguments
    if name not in COMMANDS:
        raise CourseError(f"There is no command {name!r}; the commands are {', '.join(COMMANDS)}.")
    return globals()[f"_{name}"](rest)


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line as every other mistake is said: in one sentence."""

    def error(self, message: str):
        raise CourseError(f"{message}; {self.prog} --help lists the options.")


def experiment_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name an experiment: --profile and -p NAME=VALUE."""
    parser.add_argument("--profile", default="quick", help="smoke, quick, full or sst2 (default: quick)")
    parser.add_argument(
        "-p",
        dest="overrides",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a setting for every run that has it, or METHOD.NAME=VALUE for one method; may be repeated",
    )


def parse_overrides(pairs: list[str]) -> dict[str, str]:
    """["rank=4", …] → {"rank": "4", …}."""
    overrides = {}
    for pair in pairs:
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name:
            raise CourseError(f"-p {pair!r}: type -p NAME=VALUE, for example -p rank=4.")
        if not pair.isprintable():
            raise CourseError(f"-p {pair!r}: there is a character in it that cannot be shown; type it without.")
        if name in overrides:
            raise CourseError(f"{name} is given twice, as {overrides[name]!r} and {value!r}; type it once.")
        overrides[name] = value
    return overrides


def chosen_experiment(options: argparse.Namespace):
    """The experiment that parsed `experiment_arguments` name."""
    from course_utils.config import load_experiment

    return load_experiment(options.profile, parse_overrides(options.overrides))


def _parser(command: str) -> Parser:
    purpose = COMMANDS[command]
    return Parser(prog=f"python -m course_utils {command}", description=purpose[0].upper() + purpose[1:] + ".")


def _run(arguments: list[str]) -> int:
    from course_utils import workflow

    return workflow.main(arguments)


def _train(arguments: list[str]) -> int | None:
    from course_utils import fork_server, gpus

    together = "WORLD_SIZE" in os.environ  # each of several processes is one that the launcher waits for
    if not together:
        gpus.take_one()
        if (status := fork_server.ask(["train", *arguments])) is not None:
            return status
    return _train_here(arguments)


def _train_here(arguments: list[str]) -> None:
    parser = _parser("train")
    experiment_arguments(parser)
    parser.add_argument("--method", required=True, help="head, full, lora, sparse_lora, qlora or hira")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--study", default="main")
    parser.add_argument("--force", action="store_true", help="train even if the run is there")
    options = parser.parse_args(arguments)
    config = chosen_experiment(options).config(options.method, options.seed, options.study)

    from course_utils.training import train

    run = train(config, force=options.force)
    if int(os.environ.get("RANK", "0")):
        return  # the first of several processes speaks for all
    for name, metrics in run.result.metrics.items():
        print(f"{run.result.data.titles[name]}: accuracy {metrics.accuracy:.4f} (n = {metrics.n})")
    print(f"The run is in {run.name}.")


def _predict(arguments: list[str]) -> None:
    parser = _parser("predict")
    parser.add_argument("run", help="folder of a run, for example runs/quick/main/lora/seed-0")
    parser.add_argument("text", nargs="+", help="sentences to classify")
    parser.add_argument("--json", action="store_true", help="one JSON object a sentence")
    options = parser.parse_args(arguments)
    for text in options.text:
        if any("\ud800" <= character <= "\udfff" for character in text):  # how Python holds bytes that are no text
            raise CourseError(f"{text!r} is not UTF-8; type it in that encoding.")

    from course_utils.runs import is_unchanged, read_run

    run = read_run(options.run)
    if not is_unchanged(run):
        raise CourseError(f"{run.name} is damaged: a file is not what the run recorded; delete the folder, run again.")

    from course_utils.evaluation import classifier

    for text, label, probability in classifier(run)(options.text):
        if options.json:
            print(json.dumps({"text": text, "label": label, "probability": probability}))
        else:
            print(f"{label} ({probability:.3f})  {text}")


def _fetch(arguments: list[str]) -> None:
    _parser("fetch").parse_args(arguments)

    from course_utils import assets

    assets.fetch()
    print("The embedded encoder and sentences are ready.")


def _audit(arguments: list[str]) -> int:
    parser = _parser("audit")
    parser.add_argument("card", help="a model card, for example runs/quick/main/lora/seed-0/adapter/README.md")
    parser.add_argument("--adapter", metavar="DIR", help="folder of the adapter (default: the card's, if one is there)")
    options = parser.parse_args(arguments)

    from course_utils.audit import REFUTED, audit_card, print_findings

    findings = audit_card(options.card, options.adapter)
    print_findings(findings)
    return int(any(finding.verdict == REFUTED for finding in findings))


def _report(arguments: list[str]) -> None:
    parser = _parser("report")
    experiment_arguments(parser)
    parser.add_argument("--figure", metavar="FILE", help="also write the figure of accuracies there (.svg, .png)")
    options = parser.parse_args(arguments)
    experiment = chosen_experiment(options)
    check_writable(reports_folder(), "COURSE_REPORTS")
    if options.figure:
        figure = Path(options.figure)
        if figure.suffix not in (".svg", ".png") or not figure.parent.is_dir():
            raise CourseError(f"--figure {figure}: type the name of an .svg or .png file in a folder that exists.")

    from course_utils.cards import write_cards
    from course_utils.comparison import read_runs, write_comparison
    from course_utils.report import build_report

    results = read_runs(experiment)
    write_comparison(results)
    html, pdf = build_report(results)
    print(f"The report is in {html} and {pdf}.")
    write_cards(results)
    if options.figure:
        from course_utils.exhibits import accuracy_figure

        accuracy_figure(results).savefig(figure, metadata={"Date": None})


def _rates(arguments: list[str]) -> None:
    parser = _parser("rates")
    experiment_arguments(parser)
    parser.set_defaults(profile="full")
    experiment = chosen_experiment(parser.parse_args(arguments))

    from course_utils.comparison import read_runs
    from course_utils.search import search_sentences, search_trials, winners_as_toml

    trials = search_trials(read_runs(experiment))
    if trials.empty:
        raise CourseError(f"No trial of {experiment.name} is finished; ./run_all.sh --profile full makes them.")
    print(trials.drop(columns="fingerprint").to_string(index=False), end="\n\n")
    print("\n".join(search_sentences(trials, experiment)), end="\n\n")
    print(winners_as_toml(trials))


def _push(arguments: list[str]) -> None:
    parser = _parser("push")
    parser.add_argument("run", help="folder of a run whose base model is on the hub")
    parser.add_argument("repo", help="OWNER/NAME on the hub")
    parser.add_argument("--yes", action="store_true", help="do it; without, it is only said what would be done")
    parser.add_argument("--private", action="store_true", help="a new repository is seen by its owner alone")
    options = parser.parse_args(arguments)

    from course_utils import hub
    from course_utils.runs import read_run

    run = read_run(options.run)
    hub.check_pushable(run, options.repo)
    if options.yes:
        print(f"Pushed: {hub.push(run, options.repo, options.private)}")
        return
    print(f"Would write to {options.repo}, a {run.method.title} adapter of {run.config.base_model}:")
    for path in hub.adapter_files(run):
        print(f"  {path.stat().st_size:>12,} bytes  {path.relative_to(run.folder / 'adapter')}")
    print("Nothing was written. To do it, add --yes.")


def _doctor(arguments: list[str]) -> None:
    _parser("doctor").parse_args(arguments)

    from course_utils import doctor

    doctor.main()


if __name__ == "__main__":
    sys.exit(main())
