"""The learning-rate search: what each trial reached on validation, which rate won, and whether the profile uses it."""

from __future__ import annotations

import pandas as pd

from course_utils.comparison.tables import ExperimentRuns
from course_utils.config import Experiment
from course_utils.methods import METHODS
from course_utils.tasks.classification import METRICS
from course_utils.text import and_joined

COLLAPSE = 0.15  # of accuracy: a method that loses so much at another rate has stopped learning


def search_trials(runs: ExperimentRuns) -> pd.DataFrame:
    """One row a rate that was tried: method, learning_rate, nll and accuracy on validation, fingerprint, best.

    Means over the seeds of the search; the fingerprint is that of the first. A method's best has the best likelihood;
    of equals, the best accuracy.
    """
    judged_by = ["nll", "accuracy"]
    rows = [
        {
            "method": run.config.method,
            "learning_rate": run.config.settings.learning_rate,
            **{metric: getattr(run.result.metrics["validation"], metric) for metric in judged_by},
            "fingerprint": run.result.fingerprint,
        }
        for run in runs.runs
        if not run.config.final
    ]
    columns = ["method", "learning_rate", *judged_by, "fingerprint"]
    over_seeds = dict.fromkeys(judged_by, "mean") | {"fingerprint": "first"}
    trials = pd.DataFrame(rows, columns=columns).groupby(["method", "learning_rate"], as_index=False).agg(over_seeds)
    ranked = trials.sort_values(judged_by, ascending=[not METRICS[metric].higher_is_better for metric in judged_by])
    return trials.assign(best=trials.index.isin(ranked.groupby("method").head(1).index))


def search_sentences(trials: pd.DataFrame, experiment: Experiment) -> list[str]:
    """Each method's best rate, which of them lie on the edge of their grid, and which the main runs do not use."""
    if trials.empty:
        return []
    best = trials[trials["best"]].set_index("method")["learning_rate"].reindex(METHODS).dropna()
    grids = trials.groupby("method")["learning_rate"].agg(["min", "max"])
    named = {name: f"{METHODS[name].title} {rate:g}" for name, rate in best.items()}
    edge = [named[name] for name, rate in best.items() if rate in grids.loc[name].to_numpy()]
    used = {name: experiment.config(name).settings.learning_rate for name in best.index}
    other = [
        f"{METHODS[name].title} ran at {used[name]:g} and its best trial at {rate:g}"
        for name, rate in best.items()
        if used[name] != rate
    ]
    on_edge = f"On the edge of its grid, where a better rate may lie beyond: {', '.join(edge)}."
    lost = trials[trials["method"].isin(best.index)].pivot(index="method", columns="learning_rate", values="accuracy")
    collapsed = [
        f"{METHODS[name].title} at {rate:g}"
        for name in best.index
        for rate, accuracy in lost.loc[name].dropna().items()
        if rate > best[name] and accuracy < lost.loc[name].max() - COLLAPSE
    ]
    return [
        f"The best rates on validation are: {', '.join(named.values())}.",
        on_edge if edge else "No best rate lies on the edge of its grid.",
        *(
            [f"Above its best rate a method lost more than {100 * COLLAPSE:.0f} points: {'; '.join(collapsed)}."]
            * bool(collapsed)
        ),
        *(
            [f"A trial differs from a main run in {differences}."]
            if (differences := trial_differences(experiment))
            else []
        ),
        *([f"The main runs do not use every winner: {'; '.join(other)}."] if other else []),
    ]


def trial_differences(experiment: Experiment) -> str:
    """In which settings a trial of the search differs from a main run, with both values; empty if in none."""
    settings = experiment.profile.search.settings if experiment.profile.search else {}
    main = experiment.shared
    return and_joined([f"{name} ({value:,} and not {getattr(main, name):,})" for name, value in settings.items()])


def winners_as_toml(trials: pd.DataFrame) -> str:
    """The winners as lines of a profile: each method's learning rate and the fingerprint of its trial."""
    best = trials[trials["best"]].set_index("method")
    rates = "\n".join(f"[methods.{name}]\nlearning_rate = {best.learning_rate[name]:g}\n" for name in best.index)
    found = "\n".join(f'{name} = "{best.fingerprint[name]}"' for name in best.index)
    return f"{rates}\n[found_by]\n{found}\n"
