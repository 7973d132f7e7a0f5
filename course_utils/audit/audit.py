"""Checks a model card of a PEFT adapter, claim by claim; what is refuted has a proof."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.audit.card import Card
from course_utils.audit.evidence import Evidence, read_evidence
from course_utils.audit.findings import HOLDS, MISSING, REFUTED, Finding
from course_utils.audit.knowledge import KNOWLEDGE
from course_utils.audit.own_record import record_findings
from course_utils.audit.parameters import PARAMETER_CHECKS
from course_utils.audit.scores import SCORE_CHECKS
from course_utils.audit.settings import SETTING_CHECKS
from course_utils.comparison.measurements import measurement
from course_utils.errors import CourseError
from course_utils.runs import CARD

if TYPE_CHECKING:
    from course_utils.comparison.results import ExperimentRuns

EXAMPLE_CARD = Path(__file__).with_name("example_card.md")
METADATA = ("base_model", "library_name", "license", "language", "pipeline_tag", "tags", "datasets", "metrics")
CHECKS = (*SETTING_CHECKS, *PARAMETER_CHECKS, *SCORE_CHECKS)


def audit_card(path: Path | str, adapter: Path | str | None = None, config: Path | str | None = None) -> list[Finding]:
    """The findings on the claims of a model card: counts, settings, sizes, scores, and what is missing.

    `path` is a card, an adapter's folder with a card in it, or an id of the hub. `adapter` is the folder of the
    adapter, by default the card's own; `config` the base model's config.json, where the base is not a known one.
    Raises CourseError when `path` is no model card, `adapter` holds no adapter, or `config` is no configuration.
    """
    return audit(read_evidence(path, adapter, config))


def audit(evidence: Evidence) -> list[Finding]:
    """The findings of `audit_card` on evidence that was read; CourseError when its card claims nothing."""
    findings = list(dict.fromkeys(finding for check in CHECKS for finding in check(evidence)))
    settled = {finding.claim for finding in findings if finding.verdict in (HOLDS, REFUTED)}
    recorded = {finding.claim: finding for finding in record_findings(evidence) if finding.claim not in settled}
    findings = [*(finding for finding in findings if finding.claim not in recorded), *recorded.values()]
    if all(f.verdict == MISSING for f in findings) and not any(map(evidence.card.data.get, METADATA)):
        claimless = "it has no metadata, and claims nothing that could be checked"
        raise CourseError(f"{evidence.card.path} is no model card: {claimless}.")
    return [*findings, *_lacking(evidence.card, {finding.kind for finding in findings})]


@measurement
def audits_of_runs(results: ExperimentRuns) -> dict[str, Any]:
    """Numbers of an experiment's cards, of findings and of checked findings on them, and the refuted claims."""
    cards = [card for run in results.runs if not run.method.is_baseline and (card := run.folder / CARD).is_file()]
    findings = [finding for card in cards for finding in audit_card(card)]
    checked = sum(finding.verdict in (HOLDS, REFUTED) for finding in findings)
    refuted = [finding.claim for finding in findings if finding.verdict == REFUTED]
    return {"cards": len(cards), "findings": len(findings), "checked": checked, "refuted": refuted}


def _lacking(card: Card, found: set[str]) -> Iterator[Finding]:
    """What a card should say and does not: sections with something in them, and metadata that a hub reads.

    Scores that were `found` are results, whatever the card calls the section that they stand in.
    """
    headings = "\n".join(_with_content(card.text) + ["results"] * ("score" in found)).lower()
    fields = [*METADATA, *([] if card.data.get("eval_results") else ["model-index"])]
    lacking = {
        "Sections": [name for name, words in KNOWLEDGE["sections"].items() if not re.search(words, headings, re.M)],
        "Metadata": [name for name in fields if not card.data.get(name)],
    }
    for what, names in lacking.items():
        said = f"The card lacks {', '.join(names)}." if names else "None that a reader expects is missing."
        if what == "Metadata" and card.damaged:
            said += f" Its metadata cannot be read: {card.damaged}."
        yield Finding(what, MISSING if names else HOLDS, said, "completeness")


NOTHING = re.compile(r"^#.*$|\[more information needed\]|^\W*\*\*[^*]*:\*\*\s*$", re.M | re.I)


def _with_content(text: str) -> list[str]:
    """The headings under which something stands: "[More Information Needed]" is nothing."""
    parts = [(len(m[1]), m[2], m.end()) for m in re.finditer(r"^(#{1,6})\s+(.*)$", text, re.M)]
    found = []
    for level, heading, start in parts:
        end = next((later for depth, _, later in parts if later > start and depth <= level), len(text))
        found += [heading] if re.search(r"\w", NOTHING.sub("", text[start:end])) else []
    return found
