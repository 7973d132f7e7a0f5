"""The finding on the report's title page and its abstract, computed from the runs of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import mean

import pandas as pd

from course_utils.comparison.conclusions import MINIMUM_SEEDS, difference_in_points
from course_utils.comparison.tables import ExperimentRuns
from course_utils.methods import CEILING, FLOOR, METHODS
from course_utils.stats import MARGIN, PairedComparison, compare_pairs
from course_utils.text import and_joined, counted, escape_markdown, in_sentence

WITHIN = f"within {100 * MARGIN:g} points"


def finding(results: ExperimentRuns) -> str:
    """The one sentence that a reader should take away, Markdown: which adapter method is the most accurate, if any."""
    facts = _facts(results)
    if not facts.best:
        return f"No adapter method of experiment `{results.experiment.name}` has a finished run: nothing was found."
    if not facts.beats_majority:
        return (
            f"No adapter method is shown to do better than the majority class, which is {facts.accuracy('majority')} "
            f"of {facts.sentences} test sentences: the numbers mean nothing."
        )
    if not facts.judged:
        return (
            f"Nothing is concluded about the adapter methods: none has {MINIMUM_SEEDS} finished seeds, and with fewer "
            "a difference between methods cannot be told from one between seeds."
        )
    best = _title(facts.best)
    reached = f"{facts.accuracy(facts.best)} of {facts.sentences} test sentences"
    if len(facts.judged) == 1:
        found = f"{best} is the only adapter method{facts.which} and classifies {reached} correctly"
    else:
        found = (
            f"{best} has the highest mean accuracy of the {len(facts.judged)} adapter methods{facts.which} "
            f"({reached}), {_beside_rivals(facts)}"
        )
    if pair := facts.against_full:
        share = f"{facts.share_of_full} as many parameters as {in_sentence(CEILING.title)}"
        found += f"; it trains {share} and is {_beside_full(pair)}"
    return f"{found}."


def _beside_rivals(facts: _Facts) -> str:
    above = [pair.second for pair in facts.rivals if _above(pair)]
    equal = [pair.second for pair in facts.rivals if pair.equivalent and not _above(pair)]
    open_ = [pair.second for pair in facts.rivals if pair.second not in above + equal]
    if len(above) == len(facts.rivals) > 1:
        return "significantly above each of the others"
    groups = {"not shown to be better than": open_, f"equivalent {WITHIN} to": equal, "significantly above": above}
    return and_joined([f"{said} {and_joined(list(map(_title, names)))}" for said, names in groups.items() if names])


def _beside_full(pair: PairedComparison) -> str:
    if pair.equivalent and not pair.differs:
        return f"equivalent to it {WITHIN}"
    points = 100 * pair.difference.estimate
    chance = "" if pair.differs else ", a difference that is not significant"
    return f"{abs(points):.1f} points {'above' if points > 0 else 'below'} it{chance}"


def abstract(results: ExperimentRuns) -> str:
    """What was compared, on what, and what came out: one paragraph of Markdown, every number read from the runs."""
    facts = _facts(results)
    planned = results.experiment.configs()
    baselines = [in_sentence(_title(name)) for name in results.experiment.methods if METHODS[name].is_baseline]
    beside = f" with {and_joined(baselines)}" if baselines else ""
    runs = f"{len(results.runs)} of {len(planned)} planned runs" if results.missing else counted(len(planned), "run")
    said = [
        f"{and_joined([_title(name) for name in facts.adapters])}, which adapt a pretrained encoder by training few "
        f"parameters, are compared on sentiment{beside}, in {runs}, with "
        f"{counted(len(results.experiment.seeds), 'seed')} for each method in the main comparison."
    ]
    if not facts.best:
        return f"{said[0]} No adapter method has a finished run, so there is nothing to compare."
    data = results.of(facts.best)[0].result.data
    said.append(
        f"All start from one encoder, learn from {data.sizes['train']:,} sentences and are judged on {facts.sentences} "
        f"of the set *{escape_markdown(data.titles['test'])}*."
    )
    said.append(_accuracies(facts))
    trained = facts.rows["parameters_trainable"]
    said.append(f"{_title(facts.best)} trains {trained[facts.best]:,.0f} parameters, its head included")
    if facts.share_of_full:
        said[-1] += f": {facts.share_of_full} of the {trained[CEILING.name]:,.0f} of {in_sentence(CEILING.title)}"
    said[-1] += "."
    if not facts.beats_majority:
        said.append(
            f"No adapter method is shown to do better than the majority class, which is {facts.accuracy('majority')} "
            "of the test sentences. The numbers mean nothing, and show only that every step runs."
        )
        return " ".join(said)
    said += [_verdict_among(facts), _verdict_on_full(facts), _elsewhere(results, facts)]
    return " ".join(sentence for sentence in said if sentence)


@dataclass(frozen=True)
class _Facts:
    """What finding and abstract say, before it is put into words."""

    rows: pd.DataFrame  # the summary table, a row a method
    adapters: list[str]  # planned
    judged: list[str]  # those with enough seeds
    best: str  # of those judged, or of all that have a run where none is; empty where no method has one
    pairs: list[PairedComparison]  # of all methods with enough seeds, the best adapter first where it takes part

    def accuracy(self, method: str) -> str:
        return f"{self.rows.loc[method, 'accuracy']:.1%}"

    @property
    def which(self) -> str:
        """Which adapter methods are ranked, where that is not all of them."""
        return f" with {MINIMUM_SEEDS} finished seeds" if 0 < len(self.judged) < len(self.adapters) else ""

    @property
    def sentences(self) -> str:
        return f"{self.rows.loc[self.best, 'n']:,.0f}"

    @property
    def beats_majority(self) -> bool:
        return self.rows.loc[self.best, "accuracy_low"] > self.rows.loc["majority", "accuracy"]

    @property
    def among_adapters(self) -> list[PairedComparison]:
        return [pair for pair in self.pairs if {pair.first, pair.second} <= set(self.judged)]

    @property
    def rivals(self) -> list[PairedComparison]:
        return [pair for pair in self.among_adapters if pair.first == self.best]

    @property
    def against_full(self) -> PairedComparison | None:
        return next((pair for pair in self.pairs if (pair.first, pair.second) == (self.best, CEILING.name)), None)

    @property
    def share_of_full(self) -> str:
        trained = self.rows["parameters_trainable"]
        known = CEILING.name in trained.index and pd.notna(trained[CEILING.name])
        return f"{trained[self.best] / trained[CEILING.name]:.1%}" if known else ""


@lru_cache(maxsize=1)  # finding and abstract are asked for one after the other
def _facts(results: ExperimentRuns) -> _Facts:
    rows = results.summary.set_index("method")
    correct = results.predictions.correct
    enough = {name: frame for name, frame in correct.items() if len(frame) >= MINIMUM_SEEDS}
    adapters = [name for name in results.experiment.methods if not METHODS[name].is_baseline]
    judged = [name for name in adapters if name in enough]
    candidates = judged or [name for name in adapters if name in correct]
    best = max(candidates, key=lambda name: rows.loc[name, "accuracy"], default="")
    pairs = [pair.swapped() if pair.second == best else pair for pair in compare_pairs(enough)]
    return _Facts(rows, adapters, judged, best, pairs)


def _accuracies(facts: _Facts) -> str:
    def with_interval(name: str, label: str = "") -> str:
        low, high = 100 * facts.rows.loc[name, ["accuracy_low", "accuracy_high"]]
        return f"{facts.accuracy(name)} ({label}{low:.1f} to {high:.1f})"

    others = "".join(
        f"; {in_sentence(_title(name))} has {with_interval(name)}"
        for name in (CEILING.name, FLOOR.name)
        if name in facts.rows.index and pd.notna(facts.rows.loc[name, "accuracy"])
    )
    best = f"{_title(facts.best)} has the highest mean accuracy of the adapter methods{facts.which}"
    return f"{best}, {with_interval(facts.best, '95% interval ')}{others}."


def _verdict_among(facts: _Facts) -> str:
    """How many pairs of adapter methods differ, are equivalent, or neither."""
    left_out = [_title(name) for name in facts.adapters if name not in facts.judged]
    few = f"Too few seeds are finished to conclude anything about {and_joined(left_out)}." if left_out else ""
    pairs = facts.among_adapters
    if not pairs:
        return few
    groups = {
        "significantly different": [pair for pair in pairs if pair.differs],
        f"equivalent {WITHIN}": [pair for pair in pairs if pair.equivalent and not pair.differs],
        "inconclusive": [pair for pair in pairs if not (pair.differs or pair.equivalent)],
    }
    said = [
        f"{len(group)} {'is' if len(group) == 1 else 'are'} {verdict} ("
        + "; ".join(f"{_title(pair.first)} and {_title(pair.second)}" for pair in group)
        + ")"
        for verdict, group in groups.items()
        if group
    ]
    return f"Of {counted(len(pairs), 'pair')} of adapter methods, {and_joined(said)}. {few}".strip()


def _verdict_on_full(facts: _Facts) -> str:
    if not (pair := facts.against_full):
        return ""
    shown = "significant" if pair.differs else f"equivalent {WITHIN}" if pair.equivalent else "inconclusive"
    of_pair = f"{_title(pair.first)} to {in_sentence(CEILING.title)}"
    return f"The difference of {of_pair} is {shown} ({difference_in_points(pair)})."


def _elsewhere(results: ExperimentRuns, facts: _Facts) -> str:
    """How the best adapter method's accuracy changes away from the training domain."""
    metrics = [run.result.metrics for run in results.of(facts.best)]
    changes = [
        f"{100 * mean([scores[name].accuracy - scores['test'].accuracy for scores in metrics]):+.1f} ({title})"
        for name, title in results.experiment.shared.source.further.items()
        if name in metrics[0]
    ]
    if not changes:
        return ""
    changed = and_joined(changes).replace("-", "−")
    return f"Away from the training domain the accuracy of {_title(facts.best)} changes by {changed} points."


def _above(pair: PairedComparison) -> bool:
    return pair.differs and pair.difference.estimate > 0


def _title(name: str) -> str:
    return METHODS[name].title
