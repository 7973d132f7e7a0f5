"""The scores of a card, checked against records of them, or against whole numbers of right answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import exp, inf

from course_utils.audit import knowledge
from course_utils.audit.adapter import Recorded, recorded
from course_utils.audit.card import Card, Statement
from course_utils.audit.evidence import Evidence
from course_utils.audit.findings import REFUTED, UNCHECKED, Finding, Known
from course_utils.audit.knowledge import SETS, WORDS, DataSet, is_label, normal, split_of
from course_utils.audit.numbers import Number, begins_with_number, numbers
from course_utils.stats import Interval, wilson_interval
from course_utils.tasks.classification import METRICS
from course_utils.text import one_line

COUNT, NOUNS = r"([\d.,]*\d)", knowledge.LABELS["examples"].pattern
NOT_SCORED = re.compile(r"\b(?:(?:train|fine-?tun)(?:ed|ing) (?:on|with)(?: the)?|(?:batch(?:es)?|steps?) of) $", re.I)
# What a number is of instead.
OTHER = "training|on|of|in|for|from|with|at|per|class(?:es)?|labels?|points?|epochs?|seeds?"
COUNTED = re.compile(
    rf"{COUNT}\s*/\s*{COUNT}|\bn\s?=\s?{COUNT}"
    rf"|{COUNT}\s+(?:(?!(?:{OTHER})\b)[A-Za-z][\w-]*\s+){{0,3}}?(?:{NOUNS})\b(?!\s*(?:/|per\b|fewer\b|more\b))",
    re.I,
)
BY_THE_TOKEN = ("TOKEN_CLS", "CAUSAL_LM", "QUESTION_ANS", "SEQ_2_SEQ_LM")
TITLES = {normal(word): name for name, metric in METRICS.items() for word in (name, metric.title)}


@dataclass(frozen=True)
class Score:
    """A stated score: the metric, the number, and what the card says the score is of."""

    statement: Statement
    metric: str
    card: Card
    is_own: bool  # whether the card says that it is this adapter's

    @cached_property
    def number(self) -> Number:
        """The score; a score that is a share is given as a share of one."""
        number = numbers(re.sub(r"^(\D*\d{1,2}),(?=\d)", r"\1.", self.statement.value))[0].signed
        is_share = self.metric in ("accuracy", "f1", "difference")
        return number.scaled(0.01) if is_share and (number.is_percent or abs(number.value) > 1) else number

    @property
    def split(self) -> str | None:
        """The split that the score is of, by its label, its row or the heading above."""
        return split_of(self.statement.context) or split_of(self.statement.heading)

    @property
    def is_mean(self) -> bool:
        """Whether the score is a mean over runs, and so no count of right answers."""
        return bool(WORDS["mean"].search(f"{self.statement.context} {self.statement.heading}"))

    @cached_property
    def named_sets(self) -> list[DataSet]:
        """The known data sets that are named beside the score."""
        return [known for known in SETS if known.named_in(self.statement.context)]

    @cached_property
    def sets(self) -> list[DataSet]:
        """The known data sets that the score may be of: those named beside it, or else those of the card."""
        return self.named_sets or self.card.sets

    @property
    def stated_size(self) -> int | None:
        """The number of examples that the card states for this very score."""
        where = f"{self.statement.shown} {self.statement.value} {self.statement.heading}"
        printed = [cell for column, cell in self.statement.row.items() if is_label("examples", column)]
        counted = [match for match in COUNTED.finditer(where) if not NOT_SCORED.search(where[: match.start()])]
        printed += [part for match in counted for part in match.groups()[1:] if part]
        counts = [number.value for part in printed for number in numbers(part, True)]
        return next((round(n) for n in counts if n > 1 and n == round(n)), None)

    @property
    def is_of_known_size(self) -> bool:
        """Whether the card states the examples, or set and split, beside the number, and no split of its own."""
        named = self.named_sets and split_of(self.statement.context) in ("eval", "test")
        whole = named and self.statement.source != "metadata" and not WORDS["own_split"].search(self.card.text)
        return bool(self.stated_size or whole)

    def partner(self, others: list[Score], metric: str) -> Score | None:
        """The only score of another metric that is of the same row, split and heading."""
        mine = (self.statement.row, self.statement.heading, self.split)
        near = [o for o in others if o.metric == metric and (o.statement.row, o.statement.heading, o.split) == mine]
        return near[0] if len(near) == 1 else None


def scores(evidence: Evidence) -> list[Score]:
    """The scores of this adapter; rows of other models and tables of epochs hold none."""
    found = []
    for statement in evidence.card.statements:
        label = statement.label
        metric = "difference" if is_label("difference", label) else TITLES.get(label) or knowledge.metric_of(label)
        own = _is_own(statement, evidence)
        other = own is None or (label not in TITLES and WORDS["other_accuracy"].search(label))
        if metric and not other and begins_with_number(statement.value):
            score = Score(statement, metric, evidence.card, bool(own))
            found += [score] if metric == "difference" or not score.number.is_aside else []
    return found


def _is_own(statement: Statement, evidence: Evidence) -> bool | None:
    """Whether a score is this adapter's: False where only its method is named, None where it is another model's."""
    if not WORDS["models"].search(next(iter(statement.row), "")) or WORDS["ours"].search(statement.of):
        return True
    named = knowledge.methods_named(statement.of)
    return False if evidence.adapter and len(named) == 1 and evidence.adapter.is_of(named[0]) else None


def score_findings(evidence: Evidence) -> Iterator[Finding]:
    """Verdicts on every score: by the records beside the card, by its other numbers, by whole numbers of answers."""
    every, records = scores(evidence), recorded(evidence.folder)
    titles = evidence.run.result.data.titles if evidence.run else {}
    predicted = {one_line(titles[name]).lower(): of for name, of in evidence.intervals.items()}
    for score in every:
        number, known = _by_predictions(score, predicted)
        known = known or _by_record(score, records) or _by_matrix(score, every)
        if not known and score.statement.source == "metadata" and (twins := _twins(score, every)):
            if not any(twin.number.fits(number.value) or number.fits(twin.number.value) for twin in twins):
                said = f"The text states {twins[0].statement.value}: the card states two different values."
                yield Finding(score.statement.claim, UNCHECKED, said, "score")
            continue
        check = BY_METRIC.get(score.metric)
        if known := known or (check and check(score, every, evidence)):
            found = replace(known, proof=known.proof and score.is_own).verdict(number)
            yield Finding(score.statement.claim, *found, "score")


def _twins(score: Score, others: list[Score]) -> list[Score]:
    """Scores of the text for a score of the metadata: in the row of its set, or the only one of its metric."""
    same = [o for o in others if o.metric == score.metric and o.statement.source != "metadata" and not o.is_mean]
    return [o for o in same if o.statement.of.lower() == score.statement.of.lower()] or (same if len(same) == 1 else [])


# ---------------------------------------------------------------- what lies beside the card, or is shown in it


def _by_predictions(score: Score, predicted: dict[str, dict[str, Interval]]) -> tuple[Number, Known | None]:
    """The number to check (a wrong one, if there is any) and the value that the run's predictions give for it."""
    exact = predicted.get(score.statement.of.lower(), {}).get(score.metric)
    if not exact:
        return score.number, None
    said = f"the run's predictions give {exact.estimate:.4f} [{exact.low:.4f}, {exact.high:.4f}]"
    pairs = list(zip(numbers(score.statement.value), (exact.estimate, exact.low, exact.high), strict=False))
    number, value = next((pair for pair in pairs if not pair[0].fits(pair[1])), pairs[0])
    return number, Known([(said, value)])


def _by_record(score: Score, records: Recorded) -> Known | None:
    """The values that Trainer recorded of this metric and split."""
    values = [
        (f"{name}, beside the card, holds {value:.6g}", value)
        for (split, metric), found in records.items()
        if metric == score.metric and score.split in (split, None)
        for value, name in found.items()
    ]
    known = Known(values)
    proof = score.split and not score.number.about and not score.is_mean
    return known if known.values and (proof or known.fitted_by(score.number)) else None


TRUTHS = re.compile(
    r"(true|false)[ _-](?:positive|negative)s?|\b([tf])[pn]\b|^(.+?),? (?:said|predicted(?: as)?) (.+)$", re.I
)


def _by_matrix(score: Score, others: list[Score]) -> Known | None:
    """The accuracy of the confusion matrix that the card shows as a list, where it states one accuracy."""
    cells: dict[bool, list[float]] = {True: [], False: []}
    for statement in score.card.statements:
        if (match := TRUTHS.search(statement.shown)) and re.fullmatch(r"[\d.,]+", statement.value.strip()):
            word, letter, actual, said = match.groups()
            right = (word or letter).lower().startswith("t") if word or letter else actual.strip() == said.strip()
            cells[right].append(numbers(statement.value, True)[0].value)
    classes, right, n = len(cells[True]), sum(cells[True]), sum(map(sum, cells.values()))
    is_whole = classes > 1 and len(cells[False]) == classes**2 - classes and n
    only = score.metric == "accuracy" and sum(other.metric == "accuracy" for other in others) == 1
    said = f"the confusion matrix has {right:,.0f} right of {n:,.0f}"
    return Known([(said, right / n)]) if is_whole and only else None


# ---------------------------------------------------------------- what a score can be at all


def _accuracy(score: Score, _: list[Score], evidence: Evidence) -> Known:
    """The shares nearest to the score that a whole number of right answers gives."""
    share = score.number
    if not share.is_percent and share.value < 0.02 and re.match(r"1[.,]\d", share.printed):  # 1.5: 150% or 1.5%
        return Known(remark="The card does not say whether this is a share or a percentage.")
    if share.value > 1:
        return Known([("an accuracy is at most one", (0, 1))], proof=share.is_percent)
    if score.is_mean:
        return Known(remark="A mean over several runs is no number of right answers.")
    by_the_token = evidence.adapter and evidence.adapter.task in BY_THE_TOKEN
    if by_the_token or any(known.tokens for known in score.sets):
        return Known(remark="The accuracy may count tokens, whose number the card does not state.")
    if score.stated_size:
        sizes = {"stated examples": score.stated_size}
    else:
        sizes = {f"of {one.names[0]}'s {split}": n for one in score.sets for split, n in one.sizes_of(None).items()}
    if not sizes:
        return Known(remark="The card does not say on how many examples of which known set.")
    values = []
    for of, n in sizes.items():
        near = {round((share.value + step * share.unit) * n) for step in (-0.5, 0, 0.5, 1)}  # rounded, or cut off
        right = min(near, key=lambda k: (not share.fits(k / n), abs(k / n - share.value)))
        low, high = wilson_interval(right, n)
        said = f"{right:,} of the {n:,} {of} are {right / n:.5f} (95% interval {low:.3f} to {high:.3f})"
        values.append((said, right / n))
    return Known(values, proof=score.is_of_known_size)


def _f1(score: Score, others: list[Score], evidence: Evidence) -> Known:
    """What the F1 of two classes can be at the accuracy beside it, in any way of averaging."""
    accuracy = score.partner(others, "accuracy")
    if score.is_mean or not accuracy or accuracy.number.value > 1:
        return Known(remark="An F1 can be checked only beside the accuracy of the same single run.")
    share, unit = accuracy.number.value, accuracy.number.unit
    same = abs(share - score.number.value) < min(unit, score.number.unit) / 2
    said = "The F1 equals the accuracy to the digit, as a micro-averaged F1 must and a weighted F1 often does."
    classes = {known.classes for known in score.sets} or {evidence.adapter.classes if evidence.adapter else None}
    if classes != {2}:
        return Known(remark="The card does not state how many answers each class got." + (f" {said}" if same else ""))
    # all right answers in one class: F1 = 2·right / (2·right + wrong)
    largest = 2 * (share + unit) / (1 + share + unit)
    bound = f"at the accuracy beside it, an F1 of two classes is at most {largest:.4f}"
    return Known([(bound, (0, largest))], proof=not accuracy.number.about, remark=said if same else "")


def _perplexity(score: Score, others: list[Score], _: Evidence) -> Known:
    """What a perplexity can be: at least one, and the exponential of the loss beside it."""
    value, loss = score.number.value, score.partner(others, "loss")
    if value < 1:
        return Known([("a perplexity is at least one", (1, inf))])
    remark = "A perplexity so near to one is implausible for a text that is new to the model." if value < 1.5 else ""
    if not loss or score.is_mean or loss.number.value > 30:
        return Known(remark=f"No loss of the same examples stands beside it. {remark}".strip())
    low, high = exp(loss.number.value - loss.number.unit), exp(loss.number.value + loss.number.unit)
    # a mean of exponentials is larger, and a loss may be in bits
    can_be = 0.98 * low <= value <= 1.5 * high or abs(value - 2**loss.number.value) <= 0.02 * value
    said = f"exp({loss.number.value:g}) = {exp(loss.number.value):.4g}"
    return Known([(said, (low, high))], proof=bool(score.split) and not can_be, remark=remark)


def _difference(score: Score, others: list[Score], _: Evidence) -> Known:
    """The differences between two accuracies of the card: in a table, the row's own and that of the set it names."""
    accuracies = [other for other in others if other.metric == "accuracy" and other.statement.source != "metadata"]
    own = [other for other in accuracies if score.statement.row and other.statement.row == score.statement.row]
    of_set = [other for other in accuracies if split_of(other.statement.context) == split_of(score.statement.shown)]
    values = []
    for one, two in product(own or accuracies, of_set or accuracies):
        exact, slack = one.number.value - two.number.value, (one.number.unit + two.number.unit) / 2
        said = f"{one.number.value:g} − {two.number.value:g} is {exact:+.4g}"
        values.append((said, (exact - slack, exact + slack)))
    return Known(values, proof=bool(own and of_set), remark="" if values else "The accuracies are not stated.")


BY_METRIC: dict[str, Callable[[Score, list[Score], Evidence], Known]] = {
    "accuracy": _accuracy, "f1": _f1, "perplexity": _perplexity, "difference": _difference,
}  # fmt: skip


def set_findings(evidence: Evidence) -> Iterator[Finding]:
    """Refutes a set that has fewer examples than are stated of it, or more classes than the head can answer.

    A set that a run of this project held out of a known set's training texts is not refuted.
    """
    data = evidence.run.result.data if evidence.run else None
    own = {(data.titles[name].lower(), n) for name, n in data.sizes.items()} if data else set()
    for score in scores(evidence):
        n, named = score.stated_size, [known for known in score.sets if not known.tokens]
        if n and len(named) == len(score.sets) == 1 and (score.statement.of.lower(), n) not in own:
            sizes = named[0].sizes_of(score.split) if score.split in ("eval", "test") else named[0].sizes
            if n > max(sizes.values()):
                said = f"{named[0].names[0]} has no more than {max(sizes.values()):,} in that split."
                yield Finding(f"{n:,} examples of {named[0].names[0]}", REFUTED, said, "data set")
    classes, sets = evidence.adapter.classes if evidence.adapter else None, evidence.card.sets
    if classes and len(sets) == 1 and not sets[0].tokens and 1 < classes < (sets[0].classes or 0):
        said = f"The set has {sets[0].classes} classes; the trained head answers with {classes}."
        yield Finding(f"Data set {sets[0].names[0]}", REFUTED, said, "data set")


SCORE_CHECKS = (score_findings, set_findings)
