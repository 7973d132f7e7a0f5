"""The checklist page of an experiment: what a reader needs to judge its numbers, and to make them again."""

from collections import Counter
from statistics import mean, median

import pandas as pd

from course_utils import stats
from course_utils.code_identity import from_records
from course_utils.comparison.learning_rates import trial_differences
from course_utils.comparison.results import ExperimentRuns
from course_utils.config import Experiment, command_of
from course_utils.methods import FLOOR, METHODS
from course_utils.paths import PROJECT
from course_utils.report.chapters import notebook_names
from course_utils.report.display import TEMPLATES
from course_utils.runs import Run
from course_utils.tasks import TASKS
from course_utils.text import template


def checklist(runs: ExperimentRuns) -> str:
    """The checklist of an experiment, Markdown, made from its settings, its runs and its data as they are now.

    What it lists follows Dodge et al. 2019. A run that cannot be used is listed with its reason.
    """
    experiment, records = runs.experiment, [run.result for run in runs.runs]
    task, data = TASKS[experiment.shared.task](), experiment.shared.load_data()
    executed = {path.stem for path in (experiment.report_folder / "notebooks").glob("*.ipynb")}
    judged_by, judged = next(iter(task.metrics.items()))
    return template(TEMPLATES / "checklist.md.jinja", {"mean": mean, "median": median, "seconds": seconds}).render(
        runs=runs,
        experiment=experiment,
        profile=experiment.profile,
        methods={name: method for name, method in METHODS.items() if task.has_head or method is not FLOOR},
        task=task,
        judged_by=judged_by,
        judged=judged,
        shown=judged.exact if not task.has_head else "{:.1%}".format,
        stats=stats,
        data=data,
        found_in=_published_runs(experiment),
        of_other_data=sum(run.result.data.fingerprint != data.fingerprint for run in runs.mains),
        trial_differences=trial_differences(experiment),
        planned=Counter(config.study for config in experiment.configs()),
        finished=Counter(run.config.study for run in runs.runs),
        hours=sum(map(seconds, runs.runs)) / 3600,
        thread_hours=sum(seconds(run) * run.config.threads for run in runs.runs) / 3600,
        command=command_of(experiment),
        from_records=from_records(),
        processors=dict.fromkeys(record.environment.processor for record in records),
        base_models=dict.fromkeys((record.base_model.id, record.base_model.fingerprint) for record in records),
        versions=dict.fromkeys(
            ", ".join(f"{package} {version}" for package, version in record.environment.versions.items())
            for record in records
        ),
        chapters_missing=[name for name in notebook_names(experiment.methods) if executed and name not in executed],
        commits=Counter(record.git and (record.git.commit, record.git.dirty) for record in records),
    )


def seconds(run: Run) -> float:
    """Seconds that `run` spent in training steps and in its final evaluation."""
    evaluated = sum(metrics.n for metrics in run.result.metrics.values())
    return run.result.timing.train_seconds + evaluated * run.result.timing.eval_ms_per_example / 1000


def _published_runs(experiment: Experiment) -> dict[str, tuple[str, str]]:
    """Fingerprint of a run that found a rate → experiment and study, where another published experiment has it."""
    found: dict[str, tuple[str, str]] = {}
    for file in (PROJECT / "reports").glob("*/comparison.csv"):
        if file.parent.name != experiment.name:
            table = pd.read_csv(file)
            own = table[table["fingerprint"].isin([*experiment.profile.found_by.values()])]
            found |= {run.fingerprint: (file.parent.name, run.study) for run in own.itertuples()}
    return found
