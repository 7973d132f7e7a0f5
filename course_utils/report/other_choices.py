"""Whether the verdict on two methods holds where something was chosen otherwise: seeds, texts, methods, rates, scores.

Its words are those of templates/other_choices.md.jinja: each comparative one has a branch for each outcome.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from course_utils.comparison.agreement import variance_by_raters
from course_utils.comparison.axes import validation_likelihood
from course_utils.comparison.baselines import title_of
from course_utils.comparison.calibration import scaled_predictions
from course_utils.comparison.conclusions import OF_CONTRASTS, against, judge_experiment
from course_utils.comparison.other_scores import other_scores
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.robustness import OneLess, cut_down, is_fragile, one_less, tuned
from course_utils.report.display import TEMPLATES, show_markdown, show_table
from course_utils.report.rates import main_by_accuracy
from course_utils.report.training_size import size_axis
from course_utils.stats import PairedComparison, shared_seeds
from course_utils.text import template

FRAGILE = "°"
say: Any = template(TEMPLATES / "other_choices.md.jinja", OF_CONTRASTS).module


class Choice(NamedTuple):
    """A way to judge the pairs, and what the rule shows of them, in one judgement or several."""

    kind: str  # what is chosen otherwise, in words
    heading: str
    judgements: list[list[PairedComparison]]
    less: Sequence[OneLess] = ()  # what is shown in the one judgement where a method is left out
    whole: bool = True  # whether it is on all seeds and texts of the main comparison

    def of(self, pair: PairedComparison) -> list[PairedComparison]:
        """What every judgement shows of the methods of `pair`, in their order."""
        return [own for judged in self.judgements for own in against(judged, pair.first) if own.second == pair.second]

    def cell(self, pair: PairedComparison) -> str:
        """What is shown of `pair`: a sign, with the number of judgements where there are several."""
        found = self.of(pair)
        above, below = sum(own.above for own in found), sum(own.differs and not own.above for own in found)
        equivalent = sum(own.equivalent and not own.differs for own in found)
        shown = [(sign, times) for sign, times in ((">", above), ("<", below), ("≈", equivalent)) if times]
        if not found:
            return ""
        signs = ", ".join(sign if len(self.judgements) == 1 else f"{sign} {times}" for sign, times in shown) or "·"
        return signs + FRAGILE * is_fragile(found[0], self.less)


class Verdicts(NamedTuple):
    """The pairs of methods that train more than a head, and how they are judged: as above, and otherwise."""

    pairs: list[PairedComparison]
    choices: list[Choice]  # the first one is that of the main comparison

    @property
    def kinds(self) -> list[str]:
        """What is chosen otherwise."""
        return [*dict.fromkeys(choice.kind for choice in self.choices[1:])]

    @property
    def same(self) -> list[PairedComparison]:
        """The pairs of which every judgement says alike whether a difference is shown."""
        return [
            pair
            for pair in self.pairs
            if all(own.differs == pair.differs for choice in self.choices for own in choice.of(pair))
        ]

    @property
    def shown(self) -> list[PairedComparison]:
        """The differences that the main comparison shows, the better method first."""
        return [pair.better_first() for pair in self.pairs if pair.differs]

    @property
    def kept(self) -> list[PairedComparison]:
        """Those of `shown` that every judgement shows."""
        return self._kept(self.choices)

    @property
    def kept_by_whole(self) -> list[PairedComparison]:
        """Those of `shown` that every judgement shows which has all seeds and texts of its runs."""
        return self._kept([choice for choice in self.choices if choice.whole])

    def _kept(self, choices: list[Choice]) -> list[PairedComparison]:
        return [pair for pair in self.shown if all(own.above for choice in choices for own in choice.of(pair))]

    @property
    def found(self) -> list[PairedComparison]:
        """The pairs that some judgement shows to differ, and the main comparison does not."""
        return [
            pair
            for pair in self.pairs
            if not pair.differs and any(own.differs for choice in self.choices for own in choice.of(pair))
        ]

    @property
    def turned(self) -> list[PairedComparison]:
        """The pairs of which one judgement shows the first to be ahead, and another one the second."""
        signs = {
            (pair.first, pair.second): {own.above for each in self.choices for own in each.of(pair) if own.differs}
            for pair in self.pairs
        }
        return [pair for pair in self.pairs if len(signs[pair.first, pair.second]) == 2]


@cache  # the exhibit and the abstract ask for it
def judged_otherwise(results: ExperimentRuns) -> Verdicts:
    """Judge the pairs of the main comparison by the same rule under every other choice that the runs allow."""
    judged, by_raters = judge_experiment(results), variance_by_raters(results)
    compared = {name for pair in judged.pairs for name in (pair.first, pair.second)}
    correct = {name: own for name, own in results.predictions.correct.items() if name in compared}
    pairs = tuned(judged.pairs)
    less = [*one_less(correct, by_raters)]
    choices = [Choice("", "main", [pairs], less)]
    if not pairs:
        return Verdicts(pairs, choices)
    cuts = cut_down(correct, by_raters)
    if cuts.of_seeds:
        choices.append(Choice("fewer seeds", f"{cuts.seeds} seeds ×{len(cuts.of_seeds)}", cuts.of_seeds, whole=False))
    choices.append(Choice("fewer texts", f"½ texts ×{len(cuts.of_texts)}", cuts.of_texts, whole=False))
    if len(correct) > 2:
        without = [[*one.pairs] for one in less]
        choices.append(Choice("one method less", f"one less ×{len(correct) - 2}", without))
    if otherwise := main_by_accuracy(results):
        whole = otherwise.seeds == shared_seeds(correct)
        choices.append(Choice("other learning rates", "rates", [otherwise.pairs], otherwise.less, whole))
    for score in other_scores(results, scaled_predictions(results.mains)):
        choices.append(Choice("other scores", score.heading, [score.pairs]))
    if axis := size_axis(results, validation_likelihood):
        for size, of_size in axis.pairs.items():
            less = [*one_less(axis.correct[size], by_raters)]
            choices.append(Choice("other numbers of training texts", f"{size:,}", [of_size], less, whole=False))
    return Verdicts(pairs, choices)


def do_verdicts_hold(results: ExperimentRuns) -> None:
    """Show every pair under every choice in one table, and say which verdicts hold everywhere."""
    found = judged_otherwise(results)
    if not found.pairs:
        show_markdown(say.no_verdicts_text())
        return
    titles = pd.Index([f"{title_of(pair.first)} − {title_of(pair.second)}" for pair in found.pairs], name="Pair")
    cells = {choice.heading: [choice.cell(pair) for pair in found.pairs] for choice in found.choices}
    show_table(pd.DataFrame(cells, titles), say.verdicts_table(found))
    show_markdown(say.verdicts_text(found))
