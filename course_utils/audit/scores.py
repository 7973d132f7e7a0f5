"""The scores of a card: accuracies as whole numbers of examples, F1, perplexities, and what was recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import exp
from pathlib import Path

import numpy as np

from course_utils.audit.adapter import Adapter, recorded
from course_utils.audit.card import Card, Number, Statement, begins_with_number, numbers
from course_utils.audit.findings import HOLDS, REFUTED, UNCHECKED, Finding
from course_utils.audit.knowledge import LABELS, METRIC_WORDS, SETS, WORDS, DataSet, is_label, normal, split_of
from course_utils.errors import CourseError
from course_utils.runs import read_run
from course_utils.stats import wilson_interval
from course_utils.tasks.classification import METRICS
from course_utils.text import one_line
from course_utils.training.card import run_intervals

NOUNS = LABELS["examples"].pattern
COUNTED = re.compile(
    rf"([\d.,]*\d)\s*/\s*([\d.,]*\d)|\bn\s?=\s?([\d.,]*\d)|([\d.,]*\d)\s+(?:(?!on\b|of\b)[A-Za-z][\w-]*\s+){{0,3}}?(?:{NOUNS})\b",
    re.I,
)
MODELS = re.compile(r"method|model|approach|system|name|adapter|variant|模型|modell|модел|modelo|モデル")


@dataclass(frozen=True)
class Score:
    """A stated score: the metric, the number, and what the card says that it is of."""

    statement: Statement
    metric: str
    card: Card

    @cached_property
    def number(self) -> Number:
        """The score; of an accuracy or F1, as a share of one."""
        value = re.sub(r"^(\D*\d{1,2}),(?=\d)", r"\1.", self.statement.value)
        number = numbers(value)[0]
        percent = number.value > 1 or re.match(r"\W*[\d.,]+\s?%", value)
        return number.scaled(0.01) if percent and self.metric in ("accuracy", "f1") else number

    @property
    def split(self) -> str | None:
        """The split that the score is of, by its label, its row or the heading above."""
        return split_of(self.statement.context) or split_of(self.statement.heading)

    @property
    def is_mean(self) -> bool:
        """Whether it is a mean over runs, which is no count."""
        return bool(WORDS["mean"].search(f"{self.statement.context} {self.statement.heading}"))

    @property
    def sets(self) -> list[DataSet]:
        """The known data sets that it may be of: those named beside it, or else those of the card."""
        return [known for known in SETS if known.named_in(self.statement.context)] or self.card.sets

    @property
    def stated_size(self) -> int | None:
        """The number of examples that the card states for this very score."""
        for column, cell in (self.statement.row or {}).items():
            if is_label("examples", column) and (found := numbers(cell, True)):
                return round(found[0].value)
        where = f"{self.statement.shown} {self.statement.value} {self.statement.heading}"
        found = [n for of in COUNTED.findall(where) for part in of[1:] if part for n in numbers(part, True)]
        return round(found[0].value) if found else None

    @property
    def is_exact(self) -> bool:
        """Whether the card names set and split beside the number, and speaks of no split of its own."""
        named = any(known.named_in(self.statement.context) for known in SETS)
        return (
            named
            and split_of(self.statement.context) in ("eval", "test")
            and not WORDS["own_split"].search(self.card.text)
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Set → examples that it may be of."""
        if self.stated_size:
            return {"the stated examples": self.stated_size}
        return {
            f"{s.names[0]}'s {split}": n
            for s in self.sets
            if not s.tokens
            for split, n in s.sizes.items()
            if split != "train"
        }


def scores(card: Card) -> list[Score]:
    """The scores of this adapter: rows of other models are none, nor is a table of epochs."""
    found = []
    for statement in card.statements:
        metric = next((m for m, words in METRIC_WORDS.items() if words.search(statement.label)), None)
        first, cell = next(iter((statement.row or {"": ""}).items()))
        other = bool(MODELS.search(first)) and not WORDS["ours"].search(cell)
        other = other or bool(WORDS["other_accuracy"].search(statement.label))
        elsewhere = is_label("versions", normal(statement.heading)) and not statement.prose
        if metric and not other and not elsewhere and begins_with_number(statement.value):
            found.append(Score(statement, metric, card))
    return found


def score_findings(card: Card, adapter: Adapter | None, folder: Path) -> Iterator[Finding]:
    """Verdicts on every score, by the records beside the card or else by whole numbers of right answers."""
    all_scores, records, predicted = scores(card), recorded(folder), _predictions(folder)
    for score in all_scores:
        beside = _by_record(score, records) or _by_predictions(score, predicted) or _by_matrix(score, all_scores)
        checks = {"accuracy": _accuracy, "f1": _f1, "perplexity": _perplexity}
        if found := beside or (checks[score.metric](score, all_scores, adapter) if score.metric in checks else None):
            yield Finding(score.statement.claim, *found, "score")
    yield from _data(card, all_scores, adapter)
    yield from _metadata(card, all_scores)


Verdict = tuple[str, str]


def _by_record(score: Score, records: dict[tuple[str, str], dict[float, str]]) -> Verdict | None:
    """Refuted where Trainer recorded this metric of this split, and never this value."""
    values = {
        v: name
        for (split, metric), of in records.items()
        if metric == score.metric and split in (score.split, score.split or split)
        for v, name in of.items()
    }
    fitting = [(value, name) for value, name in values.items() if score.number.fits(value)]
    if fitting:
        return HOLDS, f"{fitting[0][1]} holds {fitting[0][0]:.6g}."
    if not values or not score.split or score.number.about or score.is_mean:
        return None
    nearest = min(values, key=lambda value: abs(value - score.number.value))
    return REFUTED, f"{values[nearest]}, beside the card, holds no such value; the nearest is {nearest:.6g}."


def _predictions(folder: Path) -> dict[str, dict]:
    """Title of a set → metric → its interval, by the predictions of the run of ours whose adapter `folder` is."""
    try:
        run = read_run(folder.resolve().parent)
        return {one_line(run.result.data.titles[name]).lower(): of for name, of in run_intervals(run).items()}
    except (CourseError, OSError, ValueError, KeyError, TypeError):  # no run of ours, or a damaged one
        return {}


def _by_predictions(score: Score, predicted: dict[str, dict]) -> Verdict | None:
    """Whether value and interval are those of the run's own predictions."""
    of_set = predicted.get(next(iter((score.statement.row or {}).values()), "").lower())
    metric = next((m for m, known in METRICS.items() if known.title == score.statement.shown), None)
    if not of_set or not metric:
        return None
    exact = of_set[metric]
    right = all(
        n.fits(v) for n, v in zip(numbers(score.statement.value), (exact.estimate, exact.low, exact.high), strict=False)
    )
    said = f"The run's predictions give {exact.estimate:.4f} [{exact.low:.4f}, {exact.high:.4f}]."
    return (HOLDS, said) if right else (REFUTED, said)


def _by_matrix(score: Score, others: list[Score]) -> Verdict | None:
    """Whether the only accuracy of the card is that of the confusion matrix."""
    matrix = _confusion(score.card) if score.metric == "accuracy" and not score.is_mean else None
    if not matrix or sum(other.metric == "accuracy" for other in others) != 1 or score.number.about:
        return None
    fits = score.number.fits(matrix[0] / max(matrix[1], 1))
    return HOLDS if fits else REFUTED, f"The confusion matrix has {matrix[0]:,.0f} right of {matrix[1]:,.0f}."


def _accuracy(score: Score, _: list[Score], adapter: Adapter | None) -> Verdict:
    """Whether a whole number of right answers gives it."""
    share = score.number
    if share.value > 1:
        return (REFUTED if "%" in score.statement.value else UNCHECKED), "It exceeds one."
    if score.is_mean:
        return UNCHECKED, "A mean over several runs is no number of right answers."
    task = adapter.config.get("task_type") if adapter else None
    if task in ("TOKEN_CLS", "CAUSAL_LM", "QUESTION_ANS", "SEQ_2_SEQ_LM") or any(s.tokens for s in score.sets):
        return UNCHECKED, "It may count tokens, whose number the card does not state."
    if not score.sizes:
        return UNCHECKED, "The card does not say on how many examples of which known set."
    answers = {name: (round(share.value * n + share.unit * n / 4), n) for name, n in score.sizes.items() if n}
    near = {
        name: [
            k for k in {round((share.value + step * share.unit) * n) for step in (-0.5, 0, 0.5, 1)} if share.fits(k / n)
        ]
        for name, (_, n) in answers.items()
    }
    possible = {
        name: (min(ks, key=lambda k: abs(k / n - share.value)), n)
        for (name, ks), (_, n) in zip(near.items(), answers.values(), strict=True)
        if ks
    }
    if possible:
        said = []
        for name, (k, n) in possible.items():
            low, high = wilson_interval(k, n)
            said.append(f"{k:,} of the {n:,} of {name} (95% interval {low:.3f} to {high:.3f})")
        return HOLDS, f"It is {', or '.join(said)}."
    nearest = ", ".join(f"{k:,} of the {n:,} of {name} are {k / n:.5f}" for name, (k, n) in answers.items())
    if (score.stated_size or score.is_exact) and not share.about:
        return REFUTED, f"No number of right answers gives it; {nearest}."
    return UNCHECKED, f"It is of other examples than the known sets' ({nearest}); how many, the card does not say."


def _f1(score: Score, others: list[Score], adapter: Adapter | None) -> Verdict | None:
    """Whether any usual F1 can come out so at the accuracy beside it, where there are two classes."""
    accuracy = _partner(score, others, "accuracy")
    if score.is_mean or not accuracy or accuracy.number.value > 1:
        return UNCHECKED, "It needs the accuracy beside it, of one run."
    same = abs(accuracy.number.value - score.number.value) < min(accuracy.number.unit, score.number.unit) / 2
    remark = (
        " It equals the accuracy to the digit, as a micro-averaged F1 must and a weighted one often does."
        if same
        else ""
    )
    if {known.classes for known in score.sets} != {2} and not (adapter and adapter.classes == 2 and not score.sets):
        return UNCHECKED, f"How the answers fall on the classes is not stated.{remark}"
    sizes = list(score.sizes.values()) or [20_000]
    known_n = accuracy.stated_size or accuracy.is_exact
    for n in sizes if known_n else [*sizes, 20_000]:
        right = round(accuracy.number.value * n)
        if kind := _f1_kind(score.number, right, n, 0 if known_n else 2 / n):
            return HOLDS, f"It can be the F1 of {kind} at that accuracy.{remark}"
    return (
        UNCHECKED if score.number.about else REFUTED
    ), "At the accuracy beside it, no F1 of two classes comes out so."


def _f1_kind(f1: Number, right: int, n: int, slack: float) -> str | None:
    """Which of the usual F1 of two classes comes out as `f1`, however `right` of `n` answers fall on them."""
    hits, wrong = np.arange(right + 1), n - right
    of_positive, of_negative = (2 * part / np.maximum(2 * part + wrong, 1) for part in (hits, right - hits))
    kinds = {"one class": of_positive, "both classes, averaged": (of_positive + of_negative) / 2}
    kinds["all answers, which is the accuracy"] = np.array([right / n])
    below, above = f1.value - f1.unit / 2 - slack - 1e-9, f1.value + f1.unit + slack + 1e-9
    found = (kind for kind, values in kinds.items() if np.any((values >= below) & (values <= above)))
    weighted = "both classes, weighted" if right / n - 0.05 <= f1.value <= right / n + 0.02 else None
    return next(found, weighted)


def _partner(score: Score, others: list[Score], metric: str) -> Score | None:
    """The score of another metric in the same row, or of the same split under the same heading."""
    own = score.statement
    near = [o for o in others if o.metric == metric and o.statement.heading == own.heading and o.split == score.split]
    if own.row is not None:
        near = [o for o in near if o.statement.row == own.row]
    return near[0] if len(near) == 1 else None


def _perplexity(score: Score, others: list[Score], _: Adapter | None) -> Verdict:
    """Whether it is the exponential of the loss beside it, and can be at all."""
    value, loss = score.number.value, _partner(score, others, "loss")
    if value < 1:
        return REFUTED, "A perplexity is at least one."
    remark = " So near to one, it is that of a text that the model was shown: implausible." if value < 1.5 else ""
    if not loss or score.is_mean or loss.number.value > 30:
        return UNCHECKED, f"No loss of the same examples stands beside it.{remark}"
    low, high = exp(loss.number.value - loss.number.unit), exp(loss.number.value + loss.number.unit)
    said = f"exp({loss.number.value:g}) = {exp(loss.number.value):.4g}.{remark}"
    if low - score.number.unit <= value <= high + score.number.unit:
        return HOLDS, said
    # a mean of exponentials is larger, and a loss may be in bits
    can_be = 0.98 * low <= value <= 1.5 * high or abs(value - 2**loss.number.value) <= 0.02 * value
    return (UNCHECKED if can_be or score.number.about else REFUTED), said


TRUTHS = re.compile(
    r"(true|false)[ _-](positive|negative)s?|\b([tf])([pn])\b|^(.+?),? (?:said|predicted(?: as)?) (.+)$", re.I
)


def _confusion(card: Card) -> tuple[float, float] | None:
    """Right answers and all, by the confusion matrix that the card shows as a list; None if it shows none."""
    cells: dict[bool, list[float]] = {True: [], False: []}
    for statement in card.statements:
        if (match := TRUTHS.search(statement.shown)) and re.fullmatch(r"[\d.,]+", statement.value.strip()):
            word, _, letter, _, actual, said = match.groups()
            right = (word or letter).lower().startswith("t") if word or letter else actual.strip() == said.strip()
            cells[right].append(numbers(statement.value, True)[0].value)
    classes = len(cells[True])
    return (
        (sum(cells[True]), sum(map(sum, cells.values())))
        if classes > 1 and len(cells[False]) == classes**2 - classes
        else None
    )


def _data(card: Card, all_scores: list[Score], adapter: Adapter | None) -> Iterator[Finding]:
    """Refutes a set that has fewer examples than are stated of it, or more classes than the head can answer."""
    for score in all_scores:
        named = [known for known in SETS if known.named_in(score.statement.context)] or card.sets
        if (n := score.stated_size) and len(named) == 1 and not named[0].tokens:
            largest = max(_sizes_of(score.split, named[0].sizes))
            if n > largest:
                said = f"{named[0].names[0]} has no more than {largest:,} in that split."
                yield Finding(f"{n:,} examples of {named[0].names[0]}", REFUTED, said, "data set")
    classes = adapter.classes if adapter else None
    for known in card.sets if classes and len(card.sets) == 1 else []:
        if classes and known.classes and not known.tokens and 1 < classes < known.classes:
            said = f"It has {known.classes} classes; the trained head answers with {classes}."
            yield Finding(f"Data set {known.names[0]}", REFUTED, said, "data set")


def _sizes_of(stated: str | None, sizes: dict[str, int]) -> list[int]:
    """Sizes of the splits that a card may call so: what is called test is often the validation set."""
    validation = [size for split, size in sizes.items() if split.startswith("validation")]
    not_train = [size for split, size in sizes.items() if split != "train"]
    return {"eval": validation or not_train, "test": not_train}.get(stated or "", []) or list(sizes.values())


def _metadata(card: Card, all_scores: list[Score]) -> Iterator[Finding]:
    """Verdicts on the evaluation results in the metadata, by the row of the text that has the same set."""
    for result in card.data.get("eval_results") or []:
        name, value, metric = str(result.dataset_name), result.metric_value, str(result.metric_type)
        title = METRICS[metric].title.lower() if metric in METRICS else metric
        rows = [
            s
            for s in card.statements
            if s.row and next(iter(s.row.values())).lower() == name.lower() and s.label == title.lower()
        ]
        if rows and isinstance(value, int | float) and (printed := numbers(rows[0].value)):
            args = result.metric_args if isinstance(result.metric_args, dict) else {}
            pairs = list(zip(printed, [value, *args.get("interval_95", [])], strict=False))
            right = all(abs(n.value - v) <= 2 * n.unit or abs(n.value - 100 * v) <= 2 * n.unit for n, v in pairs)
            said = "The text says the same." if right else f"The text says {rows[0].value}."
            # which of the two is wrong is not known; that they contradict each other is
            yield Finding(f"Metadata, {one_line(name)}: {metric} {value}", HOLDS if right else REFUTED, said, "score")
