"""The learning-rate search: what each trial reached on validation, which rate won, and whether the profile uses it."""

from collections import Counter, defaultdict
from collections.abc import Collection
from math import comb, inf, nan
from typing import Any

import numpy as np
import pandas as pd

from course_utils.comparison.calibration import fit_temperature
from course_utils.comparison.results import ExperimentRuns
from course_utils.config import Experiment, as_typed
from course_utils.methods import METHODS
from course_utils.tasks import TASKS
from course_utils.tasks.base import Task
from course_utils.tasks.classification import METRICS, Classification, scores_of
from course_utils.text import and_joined, counted, in_sentence

COLLAPSE = 0.15  # of accuracy: a method that loses so much at another rate has stopped learning


def search_trials(runs: ExperimentRuns) -> pd.DataFrame:
    """One row per rate that was tried: method, learning_rate, the task's `searched_by` metrics, of_seeds, best, ….

    The metrics are means over the seeds of the search, on validation: nll and accuracy for classification. `of_seeds`
    lists them for each seed, and `fingerprint` is that of the first one. A method's best rate is the best by the first
    metric; of equals, by the next.
    """
    task = TASKS[runs.experiment.shared.task]()
    rows = [
        {
            "method": run.config.method,
            "learning_rate": run.config.settings.learning_rate,
            **(of_seed := {metric: getattr(run.result.metrics["validation"], metric) for metric in task.searched_by}),
            "of_seeds": of_seed,
            "fingerprint": run.result.fingerprint,
        }
        for run in runs.runs
        if not run.config.final
    ]
    columns = ["method", "learning_rate", *task.searched_by, "of_seeds", "fingerprint"]
    over_seeds = dict.fromkeys(task.searched_by, "mean") | {"of_seeds": list, "fingerprint": "first"}
    trials = pd.DataFrame(rows, columns=columns).groupby(["method", "learning_rate"], as_index=False).agg(over_seeds)
    return trials.assign(best=trials.index.isin(_best_first(trials, task).groupby("method").head(1).index))


def _best_first(trials: pd.DataFrame, task: Task) -> pd.DataFrame:
    by = [*task.searched_by]
    return trials.sort_values(by, ascending=[not task.metrics[metric].higher_is_better for metric in by])


def search_table(trials: pd.DataFrame) -> pd.DataFrame:
    """One row per method: best rate, what is around it, and the accuracy to expect of the best of 1, 2, … trials.

    Columns: rate; below, at and above, the accuracies at the next lower rate, at the best and at the next higher one;
    nll_below, nll_at and nll_above, the NLL there; 1, 2, …, the accuracy to expect. For k trials that is a mean over
    all choices of k of the method's trials, of which the likelihood selects one (Dodge et al. 2019, section 3, there
    with replacement). Accuracies are those on the validation texts, in per cent; nan where there is no such trial.
    """
    rows: dict[Any, dict[Any, Any]] = {}
    for method, own in trials.groupby("method"):
        by_rate = own.sort_values("learning_rate").reset_index(drop=True)
        place, accuracy = int(by_rate["best"].idxmax()), 100 * by_rate["accuracy"]
        around = {"below": place - 1, "at": place, "above": place + 1}
        ranked = 100 * _best_first(own, Classification())["accuracy"].to_numpy()
        n = len(ranked)
        chosen = {k: [comb(n - 1 - i, k - 1) / comb(n, k) for i in range(n)] for k in range(1, n + 1)}
        rows[method] = {
            "rate": by_rate["learning_rate"][place],
            **{name: accuracy.get(at, nan) for name, at in around.items()},
            **{f"nll_{name}": by_rate["nll"].get(at, nan) for name, at in around.items()},
            **{k: float(ranked @ shares) for k, shares in chosen.items()},
        }
    return pd.DataFrame.from_dict(rows, orient="index").reindex([name for name in METHODS if name in rows])


def search_sentences(trials: pd.DataFrame, experiment: Experiment) -> list[str]:
    """Each method's best rate, which of them lie on the edge of their grid, and which the main runs do not use.

    Sentences in Markdown; one says what was not searched. `trials` are those of `search_trials`, at least one.
    """
    best = trials[trials["best"]].set_index("method")["learning_rate"].reindex(METHODS).dropna()
    named = {name: f"{in_sentence(METHODS[name].title)} {rate:g}" for name, rate in best.items()}
    edge = [named[name] for name in on_edge(trials)]
    used = {name: experiment.config(name).settings.learning_rate for name in best.index}
    other = [
        f"{in_sentence(METHODS[name].title)} ran at {used[name]:g} and its best trial at {rate:g}"
        for name, rate in best.items()
        if used[name] != rate
    ]
    at_edge = f"On the edge of the grid, beyond which a better rate may lie: {', '.join(edge)}."
    differences = trial_differences(experiment)
    sentences = (
        f"The best rates on validation are: {', '.join(named.values())}.",
        at_edge if edge else "No best rate lies on the edge of its grid.",
        _cliff(trials, best) if "accuracy" in trials else "",
        _undecided(trials),
        _by_accuracy(trials, best) if "accuracy" in trials else "",
        f"A trial differs from a main run in {differences}." if differences else "",
        "The search varies the learning rate alone." + _not_searched(experiment, [*named]),
        f"The main runs do not use every winner: {'; '.join(other)}." if other else "",
    )
    return [sentence for sentence in sentences if sentence]


def by_one_seed(trials: pd.DataFrame, runs: ExperimentRuns) -> str:
    """The methods whose rate another seed might not choose, where a trial has one seed; empty without such a method.

    At the chosen rate, a main run of theirs is worse on validation than the trial at another rate, by the first of the
    metrics: less is better. Empty where a trial differs from a main run in more than its seeds.
    """
    if trial_differences(runs.experiment) or not all(len(of_seeds) == 1 for of_seeds in trials["of_seeds"]):
        return ""
    task, said = TASKS[runs.experiment.shared.task](), []
    metric = task.searched_by[0]
    title = in_sentence(task.metrics[metric].title)
    for name in (name for name in METHODS if name in {*trials["method"]}):
        tried = trials[trials["method"] == name]
        chosen, others = tried[tried["best"]].iloc[0], tried[~tried["best"]]
        mains = [run for run in runs.of(name) if run.config.settings.learning_rate == chosen["learning_rate"]]
        worst = max((getattr(run.result.metrics["validation"], metric) for run in mains), default=-inf)
        if len(others) and worst > (other := others.loc[others[metric].idxmin()])[metric]:
            of_both = f"{title} {worst:.4f}, and {other[metric]:.4f} in the trial at {other['learning_rate']:g}"
            said.append(f"{in_sentence(METHODS[name].title)} ({of_both})")
    if not said:
        return ""
    another = (
        "A trial has one seed. At the chosen rate, another seed is worse on validation than the trial at another rate"
    )
    return f"{another} for {and_joined(said)}. By that seed, the search might have chosen the other rate."


def on_edge(trials: pd.DataFrame) -> list[str]:
    """The methods whose best rate is the lowest or the highest that was tried."""
    best = trials[trials["best"]].set_index("method")["learning_rate"].reindex(METHODS).dropna()
    grids = trials.groupby("method")["learning_rate"].agg(["min", "max"])
    return [name for name, rate in best.items() if rate in grids.loc[name].to_numpy()]


def _not_searched(experiment: Experiment, tried: Collection[str]) -> str:
    """The numbers that one of the `tried` methods alone has as settings, in all its trials; empty without any."""
    settings = {name: experiment.config(name).settings for name in experiment.methods}
    owners = Counter(field for own in settings.values() for field in type(own).model_fields)
    kept = [
        f"{METHODS[name].title} `{field}` {value:g}"
        for name, own in settings.items()
        for field, value in own
        if name in tried and owners[field] == 1 and isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return f" A setting that one method alone has is the same in all its trials: {', '.join(kept)}." if kept else ""


def _cliff(trials: pd.DataFrame, best: pd.Series) -> str:
    """Which methods lose much of their accuracy above their `best` rate; if none does, how far above it was tried."""
    if collapsed := _collapsed(trials, best):
        lost = f"In the search, above its best rate a method lost more than {100 * COLLAPSE:.0f} points"
        return f"{lost}: {'; '.join(collapsed)}."
    highest = trials.groupby("method")["learning_rate"].max().reindex(best.index) / best
    titles = {name: in_sentence(METHODS[name].title) for name in highest.index}
    tried = "; ".join(f"{titles[name]} {times:.3g} times" for name, times in highest.items() if times > 1)
    none = f"In the search, above its best rate no method lost more than {100 * COLLAPSE:.0f} points with any seed."
    untried = [titles[name] for name, times in highest.items() if times == 1]
    more = f" For {and_joined(untried)} no higher rate than the best was tried." if untried else ""
    return (
        f"{none} The highest rates that were tried: {tried} the best.{more}" if tried else "No higher rate was tried."
    )


def _collapsed(trials: pd.DataFrame, best: pd.Series) -> list[str]:
    """Methods with the rates above their `best` at which they lost much of the mean accuracy that they have there.

    Where not all seeds lost it, their number is said.
    """
    at_best = trials[trials["best"]].set_index("method")["accuracy"]
    found = []
    for name in best.index:
        above = trials[(trials["method"] == name) & (trials["learning_rate"] > best[name])]
        for trial in above.sort_values("learning_rate").itertuples():
            lost = sum(own["accuracy"] < at_best[name] - COLLAPSE for own in trial.of_seeds)
            some = f" ({lost} of {counted(len(trial.of_seeds), 'seed')})" if lost < len(trial.of_seeds) else ""
            if lost:
                found.append(f"{in_sentence(METHODS[name].title)} at {trial.learning_rate:g}{some}")
    return found


def _undecided(trials: pd.DataFrame) -> str:
    """The methods for which single seeds of the search would choose different rates; empty where all seeds agree.

    By the first of the metrics, nll or bits per byte: less is better.
    """
    said = []
    for name in (name for name in METHODS if name in {*trials["method"]}):
        own = trials[trials["method"] == name]
        seeds = zip(*([next(iter(each.values())) for each in of_seeds] for of_seeds in own["of_seeds"]), strict=False)
        rates = sorted({float(own["learning_rate"].iloc[int(np.argmin(seed))]) for seed in seeds})
        if len(rates) > 1:
            said.append(f"{in_sentence(METHODS[name].title)} ({and_joined([f'{rate:g}' for rate in rates])})")
    return f"Single seeds of the search would choose different rates for {and_joined(said)}." if said else ""


def _by_accuracy(trials: pd.DataFrame, best: pd.Series) -> str:
    """The rates that validation accuracy would choose where these are not the `best`; equal ones go by likelihood."""
    ranked = trials.sort_values(["accuracy", "nll"], ascending=[False, True]).groupby("method")["learning_rate"].first()
    said = _other_rates(best, ranked)
    return f"Judged by accuracy, the search would choose other rates: {said}." if said else ""


def by_scaled_likelihood(trials: pd.DataFrame, runs: ExperimentRuns) -> str:
    """The rates that validation likelihood would choose after temperature scaling, where these are not the best.

    The temperature of a trial is fitted to the same texts. A sentence; empty without such a rate.
    """
    scaled: dict[tuple[str, float], list[float]] = defaultdict(list)
    for run in runs.runs:
        if not run.config.final:
            tried = run.predictions().query("set == 'validation'")
            logits, labels = scores_of(tried), tried["label"].to_numpy()
            nll = METRICS["nll"].value(logits / fit_temperature(logits, labels), labels)
            scaled[run.config.method, run.config.settings.learning_rate].append(nll)
    means = pd.Series({trial: np.mean(own) for trial, own in scaled.items()})
    best = trials[trials["best"]].set_index("method")["learning_rate"].reindex(METHODS).dropna()
    said = _other_rates(best, pd.Series({name: means[name].idxmin() for name in best.index}))
    judge = (
        "Judged by the likelihood after temperature scaling (a trial's logits divided by one number, its temperature,"
        " which is fitted on the validation texts)"
    )
    return f"{judge}, the search would choose other rates: {said}." if said else ""


def _other_rates(best: pd.Series, chosen: pd.Series) -> str:
    """The rates `chosen` for the methods where they are not the `best`, in words."""
    return ", ".join(
        f"{in_sentence(METHODS[str(name)].title)} {chosen[name]:g}" for name in best.index if chosen[name] != best[name]
    )


def trial_differences(experiment: Experiment) -> str:
    """In which settings a trial of the search differs from a main run, with both values; empty if in none."""
    settings = experiment.profile.search.settings if experiment.profile.search else {}
    said = []
    for name, value in settings.items():
        tried, usual = _readable(name, value), _readable(name, getattr(experiment.shared, name))
        if tried != usual:
            said.append(f"`{name}` ({tried} and not {usual})")
    return and_joined(said) if said else ""


def _readable(name: str, value: Any) -> str:
    """A setting's value in a sentence."""
    if value is None and name.startswith("max_"):
        return "all"
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else as_typed(value)


def winners_as_toml(trials: pd.DataFrame) -> str:
    """The winners as lines of a profile: each method's learning rate and the fingerprint of its trial."""
    best = trials[trials["best"]].set_index("method")
    rates = "\n".join(f"[methods.{name}]\nlearning_rate = {best.learning_rate[name]:g}\n" for name in best.index)
    found = "\n".join(f'{name} = "{best.fingerprint[name]}"' for name in best.index)
    return f"{rates}\n[found_by]\n{found}\n"
