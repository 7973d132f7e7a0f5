"""Checks a model card of a PEFT adapter, claim by claim; what is refuted has a proof."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from course_utils.audit.adapter import Adapter, read_adapter
from course_utils.audit.card import Card, Number, Statement, numbers, read_card
from course_utils.audit.counts import Base, Counts, known_bases, plain_size, read_base
from course_utils.audit.findings import (
    HOLDS,
    MISSING,
    REFUTED,
    UNCHECKED,
    Finding,
    as_json,
    print_findings,
    print_table,
)
from course_utils.audit.knowledge import KNOWLEDGE, WORDS
from course_utils.audit.scores import score_findings
from course_utils.audit.settings import (
    base_findings,
    base_of_counts,
    card_adapter,
    is_varying,
    method_findings,
    setting_findings,
    size_findings,
    sparsity_findings,
)
from course_utils.errors import CourseError
from course_utils.text import first_line

__all__ = [
    "EXAMPLE_CARD", "HOLDS", "MISSING", "REFUTED", "UNCHECKED", "Finding", "as_json", "audit_card", "print_findings",
    "print_table", "scope",
]  # fmt: skip
EXAMPLE_CARD = Path(__file__).with_name("example_card.md")
METADATA = ("base_model", "library_name", "license", "language", "pipeline_tag", "tags", "datasets", "metrics")


def audit_card(path: Path | str, adapter: Path | str | None = None, config: Path | str | None = None) -> list[Finding]:
    """What the claims of a model card come to: counts, settings, sizes, scores, and what is missing.

    `path` is a card, an adapter's folder with a card in it, or an id of the hub. `adapter` is the folder of the
    adapter, by default the card's own; `config` the base model's config.json, where the base is not a known one.
    Raises CourseError when `path` is no model card, `adapter` holds no adapter, or `config` is no configuration.
    """
    card, files, given, folder = _read(path, adapter, config)
    bases = _bases(card, files, given)
    candidates = _Candidates(card, files, bases)
    right = list(islice(candidates.fitting(), 1))
    likely = right or list(islice(candidates, 1))
    encoders = [4 * plain_size(base)[0] + plain_size(base)[1] for base in bases if "base model of" in card.text]
    findings = [
        *base_findings(card, files, given),
        *method_findings(card, files),
        *setting_findings(card, files, likely[0] if likely else None),
        *_counts(candidates, right),
        *size_findings(card, files, likely, encoders),
        *sparsity_findings(card, files),
        *score_findings(card, files, folder),
    ]
    findings = list(dict.fromkeys(findings))
    if all(f.verdict == MISSING for f in findings) and not any(map(card.data.get, METADATA)):
        raise CourseError(f"{path} is no model card: it has no metadata, and claims nothing that could be checked.")
    return [*findings, *_lacking(card)]


def scope(path: Path | str, adapter: Path | str | None = None, config: Path | str | None = None) -> str:
    """What the claims of a card were held to, and what was not there to hold them to."""
    card, files, given, _ = _read(path, adapter, config)
    bases = _bases(card, files, given)
    there = {
        "the adapter's configuration": bool(files),
        "its weights": bool(files and files.shapes),
        f"the architecture of {bases[0].name if bases else 'the base model'}": bool(bases),
        "known data sets": bool(card.sets),
    }
    held, lacking = [name for name, is_ in there.items() if is_], [name for name, is_ in there.items() if not is_]
    return f"Held to {', '.join(held) or 'the card itself'}." + (
        f" Not there: {', '.join(lacking)}." if lacking else ""
    )


def _read(
    path: Path | str, adapter: Path | str | None, config: Path | str | None
) -> tuple[Card, Adapter | None, Base | None, Path]:
    path = (
        _from_hub(str(path)) if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) and not Path(path).exists() else Path(path)
    )
    if path.is_dir():
        if not (path / "README.md").is_file():
            raise CourseError(f"{path} is a folder without a card; type the path of one, usually README.md")
        path = path / "README.md"
    card, folder = read_card(path), Path(adapter) if adapter else path.parent
    files = read_adapter(folder) if adapter or (folder / "adapter_config.json").is_file() else None
    return card, files, read_base(config) if config else None, folder


def _from_hub(name: str) -> Path:
    """A folder with what the hub has of the repository `name`: its card, its adapter, Trainer's records."""
    from huggingface_hub import snapshot_download

    if name.endswith((".md", ".markdown", ".txt")):
        return Path(name)
    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=[
                    "README.md",
                    "adapter_*.json",
                    "adapter_*.safetensors",
                    "*_state.json",
                    "*_results.json",
                ],
            )
        )
    except Exception as error:  # offline, or no such repository: the hub's client has many ways to say so
        raise CourseError(f"there is no file {name}, and the hub gives no such model ({first_line(error)}).") from None


def _bases(card: Card, adapter: Adapter | None, given: Base | None) -> list[Base]:
    """The configurations of the base: what was given, what the adapter names, or else what the card names."""
    named = [str(adapter.config.get("base_model_name_or_path") or "")] if adapter else []
    return [given] if given else next((found for name in [*named, *card.bases] if (found := known_bases(name))), [])


# ---------------------------------------------------------------- numbers of parameters


class _Candidates:
    """The counts that a card's model can have: any head of its task, any number of classes that is not known."""

    def __init__(self, card: Card, adapter: Adapter | None, bases: list[Base]):
        self.card, self.adapter, self.bases = card, adapter, bases
        self.config = adapter.config if adapter else card_adapter(card)
        self.totals, self.trainable = _stated(card, "total"), _stated(card, "trainable")

    def __iter__(self) -> Iterator[Counts]:
        task, classes = (self.config or {}).get("task_type"), self.adapter.classes if self.adapter else None
        for base in self.bases if self.config else []:
            yield from base.counts(self.config or {}, task, classes)

    def fitting(self) -> Iterator[Counts]:
        """Those that the card's numbers fit, and what the file stores."""
        trained = self.adapter and self.adapter.trained
        for counts in self if self.totals or self.trainable else ():
            if (not trained or trained == counts.trainable) and self.fits(counts):
                yield counts

    def fits(self, counts: Counts) -> bool:
        """Whether every stated number is one of these."""
        totals = all(any(map(number.fits, counts.totals)) for number in self.totals)
        return totals and all(any(map(number.fits, counts.trained)) for number in self.trainable)

    def may_fit(self, counts: Counts) -> str | None:
        """Why numbers that do not fit may be true all the same, of a base that is stored or used in another way."""
        trained = all(any(map(number.fits, counts.trained)) for number in self.trainable)
        frozen = {total - part for total in counts.totals for part in counts.trained} | set(counts.totals)
        packed = WORDS["four_bit"].search(f"{self.card.own_text} {self.card.bases}")
        for total in self.totals:
            more = [total.value - known for known in counts.totals]
            if (
                packed
                and min(counts.totals) - counts.linear / 2 <= total.value <= max(counts.totals)
                and (trained or not self.adapter)
            ):
                return "In 4 bits, PyTorch counts two numbers as one, and which layers are so is not stated."
            if trained and any(0 < part <= 8192 * counts.width and part % counts.width == 0 for part in more):
                return "It is the known base with a larger vocabulary, which is not stated."
            if not self.adapter and any(
                abs(total.value - part.value - known) <= total.unit + part.unit
                for part in self.trainable
                for known in frozen
            ):
                return "The frozen part is the base's; rank, layers or head are others than usual."
        if not self.adapter and not self.totals:
            return "What is trained beside the named layers is not stated."
        own_head = self.adapter and counts.head == "AutoModel" and self.config and self.config.get("modules_to_save")
        return "The head is one of its own." if own_head else None


def _stated(card: Card, name: str) -> list[Number]:
    """The numbers of parameters under a label for `name`: the first, and those that are the same in another way."""
    found = []
    for statement in card.stated(name):
        printed = [n for n in numbers(statement.value, True) if n.value >= (1000 if name == "total" else 32)]
        printed = [n for n in printed if not re.match(r"\s*(%|\(?train)", n.after)]
        printed = [n for n in printed if not re.search(r"\b(of|from|vs\.?)\s*$|/\s*$", n.before)]
        found += printed[:1] + [n for n in printed[1:] if name == "total" and re.match(r"\s*(as|with)\b", n.after)]
    return list({number.value: number for number in found}.values())


def _counts(candidates: _Candidates, right: list[Counts]) -> Iterator[Finding]:
    """Verdicts on the numbers of parameters, total and trainable, on their parts and on the percentage."""
    card, totals, trainable = candidates.card, candidates.totals, candidates.trainable
    if not totals and not trainable:
        yield Finding("Numbers of parameters", MISSING, "The card states none.", "count")
    else:
        claim = [" or ".join(f"{n.value:,.0f}" for n in totals) + " parameters"] * bool(totals)
        claim += [
            f"{n.value:,.0f} of them trainable" if totals else f"{n.value:,.0f} trainable parameters" for n in trainable
        ]
        verdict, found = (HOLDS, f"{right[0]}.") if right else _without_fit(candidates)
        yield Finding(", ".join(claim), verdict, found, "count")
    yield from _parts(card, candidates.adapter)
    yield from _shares(card, totals, trainable, right)


def _without_fit(candidates: _Candidates) -> tuple[str, str]:
    """The verdict on numbers that no candidate has: refuted, unless something that is not stated may explain them."""
    card, adapter, totals, trainable = candidates.card, candidates.adapter, candidates.totals, candidates.trainable
    found = list(islice(candidates, 300))
    stored = adapter.trained if adapter else None
    if any(n.about for n in [*totals, *trainable]) or len(trainable) > 1 or len({n.value for n in totals}) > 2:
        return UNCHECKED, "The numbers are round, or of several models."
    if (
        stored
        and trainable
        and not any(trainable[0].fits(n) for n in (stored, adapter.sizes(False)[0] if adapter else 0))
    ):
        return REFUTED, f"The adapter's file holds {stored:,}."
    if not found:
        if not adapter and candidates.config and candidates.bases:
            return REFUTED, f"{candidates.bases[0].name} has no such layers to adapt."
        why = (
            "Neither an adapter nor rank and layers are known"
            if not candidates.config
            else "The base model is not known here; --config FILE gives it"
        )
        return UNCHECKED, f"{why}." + (f" The file holds {stored:,} trained numbers." if stored else "")
    found = [counts for counts in found if counts.trainable == stored] or found
    reasons = map(candidates.may_fit, found)
    if unsure := next(filter(None, reasons), None):
        return UNCHECKED, f"{unsure} {found[0]}."
    if not adapter and is_varying(card) and all(n.value <= found[0].trainable for n in trainable):
        return UNCHECKED, f"At full rank, {found[0]}; which ranks are left, the adapter tells."
    near = min(found, key=lambda c: abs(c.all - totals[0].value) if totals else abs(c.trainable - trainable[0].value))
    same = (
        base_of_counts(totals[0], trainable[0], (candidates.config or {}).get("r") or 8)
        if totals and trainable
        else None
    )
    hint = f" The card's counts are those of {same}." if same else ""
    return REFUTED, f"{candidates.bases[0].name} has {found[0] if not adapter else near}.{hint}"


def _parts(card: Card, adapter: Adapter | None) -> Iterator[Finding]:
    """Verdicts on what the card says is the adapter's part and the head's."""
    for words, head in {"are the adapter": False, "the classification head": True}.items():
        for statement in card.stated("trainable") if adapter and adapter.shapes else []:
            for printed in re.findall(rf"([\d,]+) {words}", statement.value):
                stored = adapter.sizes(head)[0] if adapter else 0
                right = numbers(printed, True)[0].fits(stored)
                yield Finding(f"{printed} {words}", HOLDS if right else REFUTED, f"The file holds {stored:,}.", "count")


def _shares(card: Card, totals: list[Number], trainable: list[Number], right: list[Counts]) -> Iterator[Finding]:
    """Verdicts on the share of trained parameters, by the recomputed counts or else by the card's own."""
    parts = [part.value for part in trainable] or [part for c in right for part in c.trained]
    wholes = [total.value for total in totals] + [total for c in right for total in c.totals]
    known = {100 * part / whole for part in parts for whole in wholes if whole}
    statements: list[tuple[Statement, str]] = [(s, s.value) for s in card.stated("share")]
    for statement in card.stated("trainable"):
        shares = re.findall(r"([\d.,]*\d)\s?%(\s+as PEFT)?", statement.value)
        statements += [(statement, share) for place, (share, again) in enumerate(shares) if not place or again]
    for statement, printed in statements if known else []:
        for number in numbers(printed)[:1]:
            about = number.about or bool(
                re.search(rf"{WORDS['about'].pattern}\(?{re.escape(printed)}", statement.value, re.I)
            )
            fits = any(number.fits(value) or number.fits(value / 100) and "%" not in statement.value for value in known)
            said = " or ".join(dict.fromkeys(f"{value:.4g}%" for value in sorted(known)))
            verdict = HOLDS if fits else UNCHECKED if about or len(trainable) != 1 else REFUTED
            yield Finding(f"{number.printed or printed}% trainable", verdict, f"The counts give {said}.", "percentage")


# ---------------------------------------------------------------- what a complete card has


def _lacking(card: Card) -> Iterator[Finding]:
    """What a card should say and does not: sections with something in them, and metadata that a hub reads."""
    headings = "\n".join(_with_content(card.text)).lower()
    fields = [*METADATA, *([] if card.data.get("eval_results") else ["model-index"])]
    lacking = {
        "Sections": [name for name, words in KNOWLEDGE["sections"].items() if not re.search(words, headings)],
        "Metadata": [name for name in fields if not card.data.get(name)],
    }
    for what, names in lacking.items():
        found = f"The card lacks {', '.join(names)}." if names else "None that a reader expects is missing."
        yield Finding(what, MISSING if names else HOLDS, found, "completeness")


def _with_content(text: str) -> list[str]:
    """The headings under which something stands: "[More Information Needed]" is nothing."""
    parts = [(len(m[1]), m[2], m.end()) for m in re.finditer(r"^(#{1,6})\s+(.*)$", text, re.M)]
    found = []
    for level, heading, start in parts:
        end = next((later for depth, _, later in parts if later > start and depth <= level), len(text))
        body = re.sub(
            r"^#.*$|\[more information needed\]|^\W*\*\*[^*]*:\*\*\s*$|<!--.*?-->",
            "",
            text[start:end],
            flags=re.M | re.I | re.S,
        )
        found += [heading] if re.search(r"\w", body) else []
    return found
