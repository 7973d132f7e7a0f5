"""The command line, `peft-course` or `python -m course_utils`; every command imports only what it needs."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from course_utils.code_identity import FROM_RECORDS, KEEP_OLD_RUNS, from_records
from course_utils.config import PROFILES, command_of, load_experiment, parse_overrides, profile_names
from course_utils.errors import CourseError, check_output, check_writable, refusal
from course_utils.host import check_threads, is_first_process, take_a_gpu, usable_cores
from course_utils.methods import METHODS
from course_utils.paths import relative_to_project, reports_folder, runs_folder, write_whole
from course_utils.text import and_joined, counted, duration, in_sentence, one_line
from course_utils.workflow import fork_server

SCRIPT = "peft-course"
INTERRUPTED = 130  # exit status after Ctrl-C
STEPS = ("inputs", "baselines", "measure", "notebook", "report")  # of the workflow, beside train
PROGRAM = SCRIPT if Path(sys.argv[0]).name == SCRIPT else "python -m course_utils"
app = typer.Typer(
    help="Parameter-efficient fine-tuning: train and compare methods, use trained runs, audit model cards.",
    add_completion=PROGRAM == SCRIPT,  # shells complete the words of a program, not those of a module
    pretty_exceptions_enable=False,
)
Profile = Annotated[
    str,
    typer.Option(help=f"{and_joined(profile_names())}: what is run, and at what size.", autocompletion=profile_names),
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "-p",
        metavar="NAME=VALUE",
        help="A setting for every run that has it, or METHOD.NAME=VALUE for one method; may be repeated.",
    ),
]


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status is 0 where it succeeded, 2 after an error that the reader can put right.

    Such an error is printed as one sentence.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _command(arguments or ["--help"]) or 0
    except KeyboardInterrupt:
        print("\nStopped. What is finished is kept; the same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the program that reads the output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        said = error if isinstance(error, CourseError) else refusal(error)
        if said is None:
            raise
        print(f"error: {one_line(str(said))}", file=sys.stderr)  # names of files can hold control characters
        return 2


def command_names() -> list[str]:
    """Names of all commands."""
    return [command.callback.__name__.replace("_", "-") for command in app.registered_commands if command.callback]


def _command(arguments: list[str]) -> int | None:
    if arguments[0] in STEPS and (status := fork_server.ask(arguments)) is not None:
        return status
    split = arguments.index("--") if arguments[0] == "run" and "--" in arguments else len(arguments)
    try:
        status = app(arguments[:split], prog_name=PROGRAM, standalone_mode=False, obj=arguments[split + 1 :])
    except typer.TyperException as error:  # a word or a value that no command takes
        command = f"{PROGRAM} {arguments[0]}" if arguments[0] in command_names() else PROGRAM
        said = error.format_message()
        stop = "" if said.endswith((".", "?")) else "."
        raise CourseError(f"{said}{stop} {command} --help lists the options.") from None
    except typer.Abort:
        print()  # ends the line of the question
        said = "nothing was done; the options that --help lists answer them without a question"
        raise CourseError(f"{arguments[0]}: not every question was answered; {said}.") from None
    if status == INTERRUPTED:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    return status


@app.command(epilog="Options after -- go to Snakemake.")
def run(
    context: typer.Context,
    profile: Profile = "quick",
    overrides: Overrides = [],
    seeds: Annotated[str | None, typer.Option(metavar="N", help="Number of seeds of the main runs.")] = None,
    cores: Annotated[int | None, typer.Option(min=1, max=1000, help="Cores to use; all by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the inputs and list the steps; run none.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run every step again, even one that is up to date.")] = False,
    keep: Annotated[bool, typer.Option("--keep-old-runs", help="Also use runs that other code made.")] = False,
    records: Annotated[bool, typer.Option("--from-records", help="Train nothing: use the published records.")] = False,
) -> int:
    """Train, run the notebooks and bind the report; what is up to date is not done again (./run_all.sh)."""
    from course_utils.workflow import start

    for variable in [KEEP_OLD_RUNS] * keep + [FROM_RECORDS] * records:
        os.environ[variable] = "1"  # for all that is started
    pairs = overrides + ([f"seeds={seeds}"] if seeds is not None else [])
    return start.run(profile, pairs, cores, dry_run, force, context.obj)


@app.command()
def train(
    method: Annotated[str, typer.Option(help=f"One of {and_joined([*METHODS])}.", autocompletion=lambda: [*METHODS])],
    seed: int = 0,
    study: Annotated[str, typer.Option(help="main, or a side study of the profile.")] = "main",
    profile: Profile = "quick",
    overrides: Overrides = [],
    force: Annotated[bool, typer.Option("--force", help="Train again even if the run exists.")] = False,
) -> int:
    """Train one run, or find it trained."""
    if "WORLD_SIZE" not in os.environ:  # the launcher waits for each of its processes
        take_a_gpu()
        if (status := fork_server.ask(sys.argv[1:])) is not None:
            return status

    experiment = load_experiment(profile, parse_overrides(overrides))
    config = experiment.config(method, seed, study)
    check_threads(config.threads, usable_cores())
    for name, takers in experiment.takers.items():
        if is_first_process() and takers != ["every run"] and method not in takers:
            print(f"-p {name} changes nothing here: it is a setting of {and_joined(takers)}.", file=sys.stderr)

    from course_utils.training import train as training

    run = training.train(config, force=force)
    if is_first_process():  # it prints for all processes that train together
        for name, metrics in run.result.metrics.items():
            judged, metric = next(iter(run.task.metrics.items()))
            found = f"{in_sentence(metric.title)} {metric.exact(getattr(metrics, judged))}"
            before = (run.result.metrics_before or {}).get(name)
            before = f", before {metric.exact(getattr(before, judged))}" if before else ""
            print(f"{run.result.data.titles[name]}: {found}{before} (n = {metrics.n})")
        print(f"The run is in {run.name}.")
    return 0


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="Folder of a run, or its adapter: runs/quick/main/METHOD/seed-0.")],
    text: Annotated[
        list[str] | None, typer.Argument(help="Texts to classify or continue; by default the lines of standard input.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="A table (.csv, .tsv, .jsonl, .json, .parquet), or a file with one text a line; - is standard input."
        ),
    ] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The table's column of texts; guessed if not given.")
    ] = None,
    pair_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of second texts, where the run was trained on pairs.")
    ] = None,
    pair: Annotated[str | None, typer.Option(help="One second text for all, if the run was trained on pairs.")] = None,
    to: Annotated[
        Literal["text", "csv", "jsonl"] | None, typer.Option(help="Form of the answers; by default --output's ending.")
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write the answers to.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --to jsonl.")] = False,
    tokens: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Maximum number of tokens that a language model writes; 32 if not given."),
    ] = None,
) -> None:
    """Classify texts with a trained run, or continue them with a language model; one after -- may begin with a dash."""
    from course_utils.runs import read_run

    if as_json and to not in (None, "jsonl"):
        raise CourseError(f"--json and --to {to} exclude each other; type one of them.")
    trained = read_run(run)

    from course_utils.training import prediction

    prediction.check_usable(trained)
    form = prediction.form_of("jsonl" if as_json else to, output, file)
    texts = prediction.read_texts(trained, text or [], file, (column, pair_column), pair)
    if trained.task.has_head and tokens:
        raise CourseError(f"{trained.name} classifies texts and writes none; leave --tokens out.")
    if trained.task.has_head:
        answers = prediction.classify(trained, texts)
    else:
        answers = prediction.continue_texts(trained, texts, tokens or 32)
    _write(prediction.FORMS[form](answers), output)


def _write(text: str, output: Path | None) -> None:
    """Print `text`, or write it to the file `output`, whole or not at all."""
    if output is None:
        sys.stdout.write(text)
    else:
        write_whole(output, text)


@app.command()
def compare(
    profile: Profile = "language",
    overrides: Overrides = [],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write the comparison to.")] = None,
) -> None:
    """Compare the language models of an experiment by bits per byte, and say what they forgot."""
    experiment = load_experiment(profile, parse_overrides(overrides))
    if experiment.classifies:
        raise CourseError(
            f"{experiment.name} classifies texts; chapter 06 of {command_of(experiment)} compares its methods."
        )
    if output is not None:
        check_output(output)

    from course_utils.comparison.results import read_runs
    from course_utils.report.language import language_comparison

    _write(language_comparison(read_runs(experiment)), output)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="Folder of a run: runs/quick/main/METHOD/seed-0.")],
    merged: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A plain transformers model, with ΔW added to W₀.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The merged model for onnxruntime.")] = None,
    adapter: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The adapter, and the base model where no hub has it.")
    ] = None,
) -> None:
    """Write a run's model into new folders, for use without this project; each README says how to load the model."""
    from course_utils.runs import read_run

    wanted = {"merged": merged, "onnx": onnx, "adapter": adapter}
    folders = {form: folder for form, folder in wanted.items() if folder is not None}
    trained = read_run(run)

    from course_utils.training.export import write_exports

    write_exports(trained, folders)
    for folder in folders.values():
        print(f"{folder} is written; {folder / 'README.md'} says how to load the model.")


@app.command()
def fetch(
    decoder: Annotated[bool, typer.Option("--decoder", help="Get the decoder (93 MB, on disk 540 MB).")] = False,
) -> None:
    """Get the embedded encoder and sentences, checked by hash, or the embedded decoder."""
    from course_utils.inputs import embedded, embedded_decoder

    bundle = embedded_decoder.BUNDLE if decoder else embedded.ENCODER
    bundle.fetch()
    print(f"The embedded {bundle.name} {'is' if decoder else 'are'} ready.")


@app.command()
def audit(
    cards: Annotated[list[str], typer.Argument(help="Model cards, adapters' folders, or ids of the hub.")],
    adapter: Annotated[
        str | None, typer.Option(metavar="DIR", help="The adapter's folder; by default the card's.")
    ] = None,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="The base model's config.json.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that was found, as one JSON object.")] = False,
) -> int:
    """Check what model cards claim against what can be recomputed; exit status 1 when a claim is refuted."""
    from course_utils.audit.evidence import read_evidence

    if adapter and len(cards) > 1:
        raise CourseError("--adapter belongs to one card; type one card, or leave --adapter out.")
    read = {card: read_evidence(card, adapter, config) for card in cards}

    from course_utils.audit import findings
    from course_utils.audit.audit import audit as audit_of

    audits = {card: audit_of(evidence) for card, evidence in read.items()}
    if as_json:
        print(json.dumps(findings.as_json(audits)))
    elif len(cards) > 1:
        findings.print_table(audits)
    else:
        findings.print_findings(audits[cards[0]])
        print(read[cards[0]].scope())
    return int(any(finding.verdict == findings.REFUTED for found in audits.values() for finding in found))


@app.command()
def report(
    profile: Profile = "quick",
    overrides: Overrides = [],
    figure: Annotated[Path | None, typer.Option(help="Also write the accuracy figure to this .svg or .png.")] = None,
) -> None:
    """Bind an experiment's executed notebooks into HTML and PDF, and write its comparison.csv, cards and records."""
    experiment = load_experiment(profile, parse_overrides(overrides))
    if figure and not experiment.classifies:
        raise CourseError(f"--figure shows accuracies, and {experiment.name} has none; leave --figure {figure} out.")
    check_writable(reports_folder(), "COURSE_REPORTS")
    if figure and (figure.suffix not in (".svg", ".png") or not figure.parent.is_dir()):
        raise CourseError(
            f"--figure {figure} cannot be written; type the name of an .svg or .png file in a folder that exists."
        )

    from course_utils.comparison.other_experiments import write_conclusions
    from course_utils.comparison.published import publish_records
    from course_utils.comparison.results import read_runs
    from course_utils.comparison.tables import write_comparison
    from course_utils.report.bind import build_report, executed_notebooks, write_cards
    from course_utils.report.crate import write_crate
    from course_utils.report.gallery import write_gallery
    from course_utils.report.language import read_found
    from course_utils.report.paper import build_paper, wants_paper

    results = read_runs(experiment)
    if experiment.classifies:
        executed_notebooks(experiment)  # CourseError before a file of an older report is written over
    else:
        read_found(results)  # CourseError where nothing was made yet
    write_comparison(results)
    if results.runs:
        write_conclusions(results)
    html, pdf = build_report(results)
    print(f"The report is in {html} and {pdf}.")
    if experiment.classifies:
        print(f"The gallery of the runs is in {write_gallery(results)}.")
    if experiment.classifies and wants_paper(experiment):
        print(f"The paper is in {build_paper(results)}.")
    if not from_records():
        write_cards(results)
        print(f"The records of the runs are in {publish_records(results)}.")
    write_crate(results)
    if figure:
        from course_utils.report.display import drawn
        from course_utils.report.exhibits import accuracy_figure

        figure.write_bytes(drawn(accuracy_figure(results), figure.suffix[1:]))


@app.command()
def restore(
    profile: Profile = "full",
    overrides: Overrides = [],
    keep: Annotated[bool, typer.Option("--keep-old-runs", help="Also restore runs that other code made.")] = False,
) -> None:
    """Take the runs in published records as finished, so that ./run_all.sh makes only the others."""
    if keep:
        os.environ[KEEP_OLD_RUNS] = "1"
    experiment = load_experiment(profile, parse_overrides(overrides))
    check_writable(runs_folder(), "COURSE_RUNS")

    from course_utils.comparison.published import restore_runs

    restored, wanted = restore_runs(experiment), len(experiment.configs())
    again = command_of(experiment, *["--keep-old-runs"] * keep)
    print(f"Restored {len(restored)} of {counted(wanted, 'run')}; {again} makes every run that is missing.")
    if len(restored) < wanted:
        print("Left out: runs that are there already, those whose weights a chapter or the comparison reads, and those")
        print("without a record of today's settings, data, base model and code" + ("." if keep else ";"))
        print("" if keep else "--keep-old-runs also takes those of other code.")


def _that_is_there(asked: typer.CallbackParam, value: str) -> str:
    """`value`, if such data or such a base model can be there; CourseError before the next question otherwise."""
    from course_utils.workflow.check import check_folders

    check_folders(load_experiment("quick", parse_overrides([f"{asked.name}={value}"])).shared)
    return value


@app.command()
def new_report(
    data: Annotated[
        str,
        typer.Option(
            prompt="The data (embedded, hub:OWNER/NAME, a file or a folder)",
            callback=_that_is_there,
            help="embedded, hub:OWNER/NAME, a file or a folder; asked for if not given.",
        ),
    ],
    base_model: Annotated[
        str,
        typer.Option(
            prompt="The base model (embedded, a hub id or a folder)",
            callback=_that_is_there,
            help="embedded, a hub id or a folder; asked for if not given.",
        ),
    ] = "embedded",
    minutes: Annotated[
        float,
        typer.Option(
            prompt="How many minutes may the workflow take",
            min=1,
            max=1_000_000,
            help="Minutes that the workflow may take on this machine; asked for if not given.",
        ),
    ] = 30,
    name: Annotated[str | None, typer.Option(help="The profile's name; by default the name of the data.")] = None,
    overrides: Overrides = [],
) -> None:
    """Write a profile for your data, your base model and your time; asks for what is not given."""
    from course_utils.workflow.estimates import expected_total
    from course_utils.workflow.profile_files import minutes_with_search, name_of_data, new_profile

    name = name or name_of_data(data)
    file, experiment = new_profile(
        name, parse_overrides([f"data={data}", f"base_model={base_model}", *overrides]), minutes
    )
    took = duration(expected_total(experiment, usable_cores()))
    print(f"{relative_to_project(file)}: {experiment.profile.description}")
    print(f"Type ./run_all.sh --profile {name}; it takes roughly {took}.")
    if experiment.profile.search:
        print(f"Then type {PROGRAM} rates --profile {name} --write {name} to keep the best rates of the search.")
        print("The same ./run_all.sh then trains the runs whose rate has changed.")
    else:
        enough = minutes_with_search(experiment)
        print("No search for learning rates fits into that time, so a method may train at an unsuitable rate;")
        print(f"{enough} minutes are enough to search each method's rate.")


@app.command()
def rates(
    profile: Profile = "full",
    overrides: Overrides = [],
    write: Annotated[list[str], typer.Option(help="Profile to write the rates into; may be repeated.")] = [],
) -> None:
    """Say which learning rates an experiment's search found, as lines for a profile, or write them into one."""
    experiment = load_experiment(profile, parse_overrides(overrides))

    from course_utils.comparison.learning_rates import search_sentences, search_trials, winners_as_toml
    from course_utils.comparison.results import read_runs
    from course_utils.workflow.profile_files import with_rates

    trials = search_trials(read_runs(experiment))
    if trials.empty:
        remedy = f"type {command_of(experiment)}" if experiment.profile.search else "its profile has no [search]"
        raise CourseError(f"{experiment.name} has no finished trial of a search; {remedy}.")
    print(trials.drop(columns=["fingerprint", "of_seeds"]).to_string(index=False), end="\n\n")
    print("\n".join(search_sentences(trials, experiment)), end="\n\n")
    print(winners_as_toml(trials))
    best = trials[trials["best"]].set_index("method")
    for name in write:
        load_experiment(name)  # CourseError where it is missing or damaged, before any profile is written
    for name in write:
        with_rates(PROFILES / f"{name}.toml", best["learning_rate"].to_dict(), best["fingerprint"].to_dict())
        print(f"The rates are written into the profile {name}.")


@app.command()
def student_edition(folder: Annotated[Path, typer.Argument(help="A new folder for the notebooks.")]) -> None:
    """Write the notebooks without the solutions of their exercises, with a cell that checks an answer."""
    from course_utils.report.exercises import write_student_edition

    written = write_student_edition(folder)
    print(f"{len(written)} notebooks without solutions are in {folder}.")


@app.command()
def push(
    run: Annotated[str, typer.Argument(help="Folder of a run whose base model is on the hub.")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the hub.")],
    yes: Annotated[bool, typer.Option("--yes", help="Push; without --yes, only say what would be written.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Put a run's adapter and model card on the Hugging Face Hub."""
    from course_utils.runs import read_run
    from course_utils.training import export

    trained = read_run(run)
    export.check_pushable(trained, repo)
    if yes:
        print(f"Pushed: {export.push(trained, repo, private)}\n\nThis code loads the adapter:\n")
        print(export.loading_code(trained, repo))
        return
    print(f"Would write to {repo}, a {trained.method.title} adapter of {trained.config.base_model}:")
    folder = trained.folder / "adapter"
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"  {path.stat().st_size:>12,} bytes  {path.relative_to(folder)}")
    print("Nothing was written; add --yes to push.")


@app.command()
def doctor() -> None:
    """Say what this machine can do and which profile fits it."""
    from course_utils.workflow import doctor

    doctor.main()


# ---------------------------------------------------------------- steps of the workflow, called by the Snakefile


@app.command(hidden=True)
def inputs(profile: Profile = "quick", overrides: Overrides = []) -> None:
    """Fetch and check the model and the data of an experiment."""
    from course_utils.workflow.check import write_inputs

    write_inputs(load_experiment(profile, parse_overrides(overrides)))


@app.command(hidden=True)
def baselines(profile: Profile = "quick", overrides: Overrides = []) -> None:
    """Fit the baselines of an experiment that fine-tune nothing."""
    take_a_gpu()
    from course_utils.comparison.baselines import make_baselines

    make_baselines(load_experiment(profile, parse_overrides(overrides)))


@app.command(hidden=True)
def measure(profile: Profile = "quick", overrides: Overrides = []) -> None:
    """Measure what the comparison cannot compute from records: it needs weights or a clock."""
    from course_utils.audit.audit import audits_of_runs
    from course_utils.comparison.axes import baselines_by_size
    from course_utils.comparison.controls import quantised_base
    from course_utils.comparison.costs import memory_of_first_runs, times_of_first_runs
    from course_utils.comparison.published import MEASURED
    from course_utils.comparison.results import read_runs
    from course_utils.comparison.sparsity import sized_ways, stored_ways
    from course_utils.comparison.training_step import time_by_part, work_by_method

    results = read_runs(load_experiment(profile, parse_overrides(overrides)))
    # Memory first, before another step loads a model: freed memory is not all given back, and would be used again.
    memory_of_first_runs(results)
    found = audits_of_runs, times_of_first_runs, sized_ways, stored_ways, baselines_by_size, quantised_base
    for find in (*found, work_by_method, time_by_part):
        find(results)
    (runs_folder() / results.experiment.name / MEASURED).touch()  # nothing in it is older than the runs


@app.command(hidden=True)
def notebook(name: str, profile: Profile = "quick", overrides: Overrides = []) -> None:
    """Run one notebook of an experiment, for example 02_lora."""
    from course_utils.workflow.notebooks import run_notebook

    run_notebook(name, load_experiment(profile, parse_overrides(overrides)))


if __name__ == "__main__":
    sys.exit(main())
