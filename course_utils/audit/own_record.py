"""The card of a run of this project, checked against the card that the run's record gives anew."""

from collections.abc import Iterator

from course_utils.audit.card import taken_apart
from course_utils.audit.evidence import Evidence
from course_utils.audit.findings import HOLDS, REFUTED, UNCHECKED, Finding
from course_utils.audit.knowledge import normal
from course_utils.audit.numbers import numbers

FEW_WORDS = 5


def record_findings(evidence: Evidence) -> Iterator[Finding]:
    """Verdicts on the labelled statements of a card whose run lies there, by what the record says under the label.

    A number that is another is refuted, and so are a few words that are others. A longer text may say the same in
    other words, and is not checked.
    """
    if not evidence.run or not evidence.intervals:
        return
    from course_utils.training.card import card_text  # loads torch, which a card of elsewhere needs not

    statements = taken_apart(card_text(evidence.run, evidence.intervals))[2]
    anew = {(s.heading, s.label): s.value for s in statements if not s.row and not s.value.endswith(".")}
    for statement in evidence.card.statements:
        known = anew.get((statement.heading, statement.label))
        if statement.row or known is None:
            continue
        pairs = list(zip(numbers(statement.value), numbers(known), strict=False))
        differ = [stated for stated, exact in pairs if not stated.fits(exact.value)]
        short = max(len(normal(value).split()) for value in (statement.value, known)) <= FEW_WORDS
        verdict = HOLDS if statement.value == known else REFUTED if differ or (short and not pairs) else UNCHECKED
        said = "So says the run's record." if verdict == HOLDS else f"The run's record gives {known}."
        yield Finding(statement.claim, verdict, said, "record")
