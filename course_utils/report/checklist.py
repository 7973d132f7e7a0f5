"""The checklist page of an experiment: what a reader needs to judge its numbers, and to make them again."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

import numpy as np

from course_utils.comparison.tables import ExperimentRuns, MissingRun
from course_utils.config import Experiment, as_typed
from course_utils.inputs.splits import Data
from course_utils.methods import METHODS
from course_utils.runs import Run
from course_utils.stats import COVERAGE, COVERAGE_OF_PERCENTILES, MARGIN, REPLICATES, SIGNIFICANCE
from course_utils.text import code_span, counted, escape_markdown

ENERGY_COUNTERS = Path("/sys/class/powercap")


def checklist(runs: ExperimentRuns) -> str:
    """The checklist of an experiment, Markdown, made from its settings, its runs and its data as they are now.

    What it lists follows Dodge et al. 2019. A run that cannot be used is listed with its reason.
    """
    experiment = runs.experiment
    data = experiment.shared.load_data()
    sections = {
        "Data": _data(data, runs),
        "Learning rates": _learning_rates(experiment),
        "Runs": _runs(experiment, runs),
        "Error bars and tests": ERROR_BARS,
        "Validation beside test": _validation(experiment, runs),
        "Compute": _compute(experiment, runs),
        "Seeds, versions and code": _origin(experiment, runs),
        "Not run": _not_run(experiment, runs),
    }
    listed = [f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) for title, lines in sections.items()]
    head = f"What one should know of experiment `{experiment.name}` [@dodge2019showyourwork]."
    return "\n\n".join([head, *listed]) + "\n"


ERROR_BARS = [
    f"An error bar is a 95% interval of a bootstrap with {REPLICATES:,} replicates that draws seeds and sentences "
    "again, independently of each other, expanded to the width of a t interval. A point is the mean over seeds.",
    "In simulations of paired differences in which seeds and sentences both vary, such intervals hold the truth in "
    + ", ".join(f"{low:.1%} to {high:.1%} of cases with {seeds} seeds" for seeds, (low, high) in COVERAGE.items())
    + "; plain percentiles in "
    + ", ".join(f"{low:.1%} to {high:.1%} with {seeds}" for seeds, (low, high) in COVERAGE_OF_PERCENTILES.items())
    + ".",
    "Methods are compared on the same seeds and sentences: a sign-flip permutation test per sentence, pooled over "
    f"seeds, with Holm's correction over all pairs at {SIGNIFICANCE:.0%}; equivalence by two one-sided tests within "
    f"±{100 * MARGIN:g} points.",
    "Times are medians over the seeds; parameters and bytes are counts and have no error.",
]


def _data(data: Data, runs: ExperimentRuns) -> list[str]:
    sets = [
        f"{_text(data.titles[name])}: {len(frame):,} sentences, {frame['label'].mean():.1%} positive"
        for name, frame in data.sets.items()
    ]
    removed = [f"Removed ({_text(reason)}): {n:,}" for reason, n in data.removed.items()]
    source = f"Source: {code_span(data.source)}, fingerprint `{data.fingerprint[:16]}`"
    others = sum(run.result.data.fingerprint != data.fingerprint for run in runs.runs)
    if others:
        source += f"; **{counted(others, 'run')} saw other data than these**"
    return [source, *sets, *(removed or ["Nothing was removed."])]


def _learning_rates(experiment: Experiment) -> list[str]:
    profile = experiment.profile
    if profile.search:
        lines = [
            "Selected by accuracy on validation, from a grid for every method; a trial is a run of "
            f"{counted(profile.search.epochs, 'epoch')} with one seed, and makes no test predictions."
        ]
    else:
        lines = ["No search in this experiment: the rates are its profile's."]
    for name in experiment.methods:
        rate = experiment.config(name).settings.learning_rate
        line = f"{METHODS[name].title}: {rate:g}"
        if profile.search and name in profile.search.rates:
            line += ", of " + ", ".join(f"{tried:g}" for tried in profile.search.rates[name])
        if rate != experiment.profile_settings(name)["learning_rate"]:
            line += ", set by hand"
        elif name in profile.found_by:
            line += f", found by the trial with fingerprint `{profile.found_by[name][:16]}`"
        lines.append(line)
    return lines


def _runs(experiment: Experiment, runs: ExperimentRuns) -> list[str]:
    planned = Counter(config.study for config in experiment.configs())
    finished = Counter(run.config.study for run in runs.runs)
    total = f"All studies: {len(runs.runs)} of {sum(planned.values())} planned runs are finished."
    return [total, *(f"`{study}`: {finished[study]} of {number}" for study, number in planned.items())]


def _validation(experiment: Experiment, runs: ExperimentRuns) -> list[str]:
    lines = []
    for method in experiment.methods:
        scores = {
            name: [run.result.metrics[name].accuracy for run in runs.of(method)] for name in ("validation", "test")
        }
        if scores["test"]:
            means = ", ".join(f"{name} {np.mean(values):.1%}" for name, values in scores.items())
            lines.append(f"{METHODS[method].title}: {means} ({counted(len(scores['test']), 'seed')})")
    return lines or ["No run is finished."]


def _compute(experiment: Experiment, runs: ExperimentRuns) -> list[str]:
    hours = sum(seconds(run) for run in runs.runs) / 3600
    cores = sum(seconds(run) * run.config.threads for run in runs.runs) / 3600
    lines = [
        f"Training steps and final evaluation of all runs: {hours:.2f} hours of their processes, {cores:.2f} of "
        "threads; loading and the evaluations between epochs are not in it."
    ]
    for method in experiment.methods:
        if own := runs.of(method):
            mean = np.mean([seconds(run) for run in own])
            lines.append(f"{METHODS[method].title}: {mean:,.0f} s a main run")
    processors = dict.fromkeys(run.result.environment.processor for run in runs.runs)
    lines += [f"Processor: {_text(name)}" for name in processors]
    if any(ENERGY_COUNTERS.glob("intel-rapl:*")):
        return [*lines, "Energy: not reported; the counter is the processor's, and runs share it side by side."]
    return [*lines, "Energy: not reported; this machine has no counter (intel-rapl)."]


def seconds(run: Run) -> float:
    """Seconds that `run` spent in training steps and in its final evaluation."""
    evaluated = sum(metrics.n for metrics in run.result.metrics.values())
    return run.result.timing.train_seconds + evaluated * run.result.timing.eval_ms_per_example / 1000


def _origin(experiment: Experiment, runs: ExperimentRuns) -> list[str]:
    words = ["./run_all.sh", "--profile", experiment.profile_name]
    words += ["--seeds", str(experiment.seed_count)] if experiment.seed_count else []
    words += [word for name, value in experiment.overrides.items() for word in ("-p", f"{name}={as_typed(value)}")]
    lines = [
        f"Seeds {', '.join(map(str, experiment.seeds))}: head initialisation, data order and dropout, the same for "
        "every method.",
        f"Command: {code_span(shlex.join(words))}",
    ]
    models = dict.fromkeys((run.result.base_model.id, run.result.base_model.fingerprint) for run in runs.runs)
    lines += [f"Base model: {code_span(name)}, fingerprint `{digest[:16]}`" for name, digest in models]
    versions = dict.fromkeys(
        ", ".join(f"{package} {version}" for package, version in run.result.environment.versions.items())
        for run in runs.runs
    )
    lines += [f"Versions: {_text(listed)}" for listed in versions]
    commits = Counter(
        "unknown" if run.result.git is None
        else f"`{run.result.git.commit[:12]}`" + (" with uncommitted changes" if run.result.git.dirty else "")
        for run in runs.runs
    )  # fmt: skip
    return lines + [f"Commit: {commit}, {counted(number, 'run')}" for commit, number in commits.items()]


def _not_run(experiment: Experiment, runs: ExperimentRuns) -> list[str]:
    lines = [_missing(run) for run in runs.missing]
    lines += [
        f"{method.title}: not in the profile `{experiment.profile_name}`"
        for name, method in METHODS.items()
        if name not in experiment.methods
    ]
    if not experiment.profile.search:
        lines.append(f"Search of learning rates: the profile `{experiment.profile_name}` has none")
    if not experiment.profile.studies:
        lines.append(f"Side studies: the profile `{experiment.profile_name}` has none")
    return lines or ["Nothing that was planned is missing."]


def _missing(missing: MissingRun) -> str:
    config = missing.config
    return f"{METHODS[config.method].title}, `{config.study}`, seed {config.seed}: {_text(missing.reason)}"


def _text(text: str) -> str:
    return escape_markdown(text)
