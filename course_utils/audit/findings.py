"""What an audit says: a claim, a verdict and what was found; the one rule of a verdict; tables and JSON of them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from course_utils.audit.numbers import Number
from course_utils.text import one_line

HOLDS, REFUTED, UNCHECKED, MISSING = "holds", "refuted", "cannot be checked", "missing"
VERDICTS = {HOLDS: "green", REFUTED: "bold red", UNCHECKED: "yellow", MISSING: "yellow"}
SCHEMA = 1


@dataclass(frozen=True)
class Finding:
    """A claim of a card, the verdict on it (holds, refuted, cannot be checked, missing), what was found, its kind."""

    claim: str
    verdict: str
    found: str
    kind: str


@dataclass(frozen=True)
class Known:
    """What a stated number may be: pairs of a clause that says so and the value, or the range (low, high) of it.

    `proof`: the number must be one of these, so that any other number is false. `remark` is always part of the finding.
    """

    values: list[tuple[str, Any]] = field(default_factory=list)
    proof: bool = True
    remark: str = ""

    def fitted_by(self, number: Number) -> list[str]:
        """The clauses whose value is the number."""
        return list(dict.fromkeys(clause for clause, value in self.values if number.fits(value)))

    def verdict(self, number: Number) -> tuple[str, str]:
        """Verdict and what was found: a number that fits holds; any other is refuted, or without a proof unchecked."""
        right = self.fitted_by(number)
        refuted = self.values and self.proof and not number.about and not number.is_aside
        nearest = sorted(self.values, key=lambda pair: abs(_middle(pair[1]) - number.value))
        said = "; ".join(right or dict.fromkeys(clause for clause, _ in nearest[:4]))
        found = " ".join(filter(None, [said and f"{said[:1].upper()}{said[1:]}.", self.remark]))
        return HOLDS if right else REFUTED if refuted else UNCHECKED, found


def _middle(value: float | tuple[float, float]) -> float:
    return sum(value) / 2 if isinstance(value, tuple) else value


def tally(findings: list[Finding]) -> dict[str, int]:
    """Verdict → how many claims have it."""
    return {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in VERDICTS}


def print_findings(findings: list[Finding]) -> None:
    """Print every claim with its verdict and what was found, then how many there are of each."""
    table, of = Table.grid(padding=(0, 2)), tally(findings)
    for finding in findings:
        table.add_row(Text(finding.verdict, VERDICTS[finding.verdict]), Text(one_line(finding.claim), "bold"))
        table.add_row("", Text(one_line(finding.found)))
    counts = f"{of[HOLDS]} hold, {of[REFUTED]} refuted, {of[UNCHECKED]} cannot be checked, {of[MISSING]} missing"
    Console(highlight=False).print(table, Text(f"\n{len(findings)} claims: {counts}."))


def print_table(audits: dict[str, list[Finding]]) -> None:
    """Print one row per card: how many of its claims hold, are refuted, cannot be checked, and what is refuted."""
    table = Table("Card", *(verdict.capitalize() for verdict in VERDICTS), "What is refuted")
    for card, findings in audits.items():
        refuted = "; ".join(one_line(finding.claim) for finding in findings if finding.verdict == REFUTED)
        table.add_row(Text(one_line(card)), *map(str, tally(findings).values()), Text(refuted))
    Console(highlight=False).print(table)


def as_json(audits: dict[str, list[Finding]]) -> dict[str, Any]:
    """The audits as JSON: {schema, refuted, cards: [{card, verdicts, findings: [{claim, verdict, found, kind}]}]}."""
    cards: list[dict[str, Any]] = [
        {"card": card, "verdicts": tally(findings), "findings": [asdict(finding) for finding in findings]}
        for card, findings in audits.items()
    ]
    return {"schema": SCHEMA, "refuted": sum(c["verdicts"][REFUTED] for c in cards), "cards": cards}
