"""The numbers of parameters that a card states, the share that is trained, sizes in bytes, and the share of zeros."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from course_utils.audit.card import Card
from course_utils.audit.counts import Counts, known_bases
from course_utils.audit.evidence import Evidence
from course_utils.audit.findings import HOLDS, MISSING, REFUTED, UNCHECKED, Finding, Known
from course_utils.audit.knowledge import KNOWLEDGE, WORDS
from course_utils.audit.numbers import Number, numbers
from course_utils.audit.settings import NO_ADAPTER
from course_utils.methods import PLAIN

MOST = 300  # candidates that are looked at where none is right
USUAL_LAYERS = [["query", "value"], ["query", "key", "value"], ["q_lin", "v_lin"], ["q_lin", "k_lin", "v_lin"]]


# ---------------------------------------------------------------- total and trainable


def count_findings(evidence: Evidence) -> Iterator[Finding]:
    """Verdict on the numbers of parameters, total and trainable together, for they must be of one model."""
    totals, trainable = evidence.totals, evidence.trainable
    if not totals and not trainable:
        yield Finding("Numbers of parameters", MISSING, "The card states none exactly.", "count")
        return
    claim = [" or ".join(f"{n.value:,.0f}" for n in totals) + " parameters"] if totals else []
    of = "of them trainable" if totals else "trainable parameters"
    claim += [f"{number.value:,.0f} {of}" for number in trainable]
    verdict, found = (HOLDS, f"{evidence.right}.") if evidence.right else _without_fit(evidence)
    yield Finding(", ".join(claim), verdict, found, "count")


def _without_fit(evidence: Evidence) -> tuple[str, str]:
    """The verdict on numbers that no candidate has: refuted, unless something that is not stated may explain them."""
    adapter, totals, trainable = evidence.adapter, evidence.totals, evidence.trainable
    stored = evidence.file.trained if evidence.file else None
    later = [n for s in evidence.card.stated("trainable") for n in numbers(s.value, True)[1:]]
    several = len(trainable) > 1 or len({n.value for n in totals}) > 2 or any(stored and n.fits(stored) for n in later)
    if several or any(n.about for n in [*totals, *trainable]):
        return UNCHECKED, "The numbers are round, or of several models."
    if adapter and stored and trainable and not any(map(trainable[0].fits, (stored, adapter.sizes(head=False)[0]))):
        return REFUTED, f"The adapter's file holds {stored:,}."
    found = list(islice(evidence.candidates(), MOST))
    if not found and evidence.config and evidence.bases and not adapter:
        return REFUTED, f"{evidence.bases[0].name} has no such layers to adapt."
    if not found:
        unknown = "The base model is not known here; --config FILE gives it."
        return UNCHECKED, unknown if evidence.config else "Neither an adapter nor rank and layers are known."
    found = [counts for counts in found if counts.trainable == stored] or found
    if unsure := next(filter(None, (_excuse(evidence, counts) for counts in found)), None):
        return UNCHECKED, f"{unsure} {found[0]}."
    nearest = min(
        found, key=lambda c: abs(c.all - totals[0].value) if totals else abs(c.trainable - trainable[0].value)
    )
    return REFUTED, f"{evidence.bases[0].name} has {nearest if adapter else found[0]}.{_other_base(evidence)}"


def _excuse(evidence: Evidence, counts: Counts) -> str | None:
    """Something that the card does not state and that may explain why its numbers are not these counts."""
    card, adapter, totals, trainable = evidence.card, evidence.adapter, evidence.totals, evidence.trainable
    trained = all(any(map(number.fits, counts.trained)) for number in trainable)
    in_4_bits = WORDS["four_bit"].search(f"{card.own_text} {card.bases}")
    packed = (min(counts.totals) - counts.linear / 2, max(counts.totals))
    more = [total.value - known for total in totals for known in counts.totals]
    frozen = {total - part for total in counts.totals for part in counts.trained} | set(counts.totals)
    left = [(a.value - b.value, a.unit + b.unit) for a in totals for b in trainable]
    proved = evidence.file and evidence.file.trained == counts.trainable
    any_head = adapter and adapter.task in (None, "FEATURE_EXTRACTION") and adapter.config.get("modules_to_save")
    excuses = {
        "In 4 bits, PyTorch counts two numbers as one; the card does not say which layers are in 4 bits.": (
            in_4_bits and (trained or not adapter) and any(packed[0] <= total.value <= packed[1] for total in totals)
        ),
        "It is the known base with a larger vocabulary, which is not stated.": (
            trained and any(0 < part <= 8192 * counts.width and part % counts.width == 0 for part in more)
        ),
        "The frozen part fits the base model; rank, layers or head are not the usual ones.": (
            not adapter and any(abs(part - known) <= unit for part, unit in left for known in frozen)
        ),
        "What is trained beside the named layers is not stated.": not adapter and not totals,
        "These are the counts at full rank; only the adapter tells which ranks are left.": (
            not adapter and card.is_varying and all(number.value <= counts.trainable for number in trainable)
        ),
        "The head may be another one than transformers has.": any_head and not proved,
    }
    return next((excuse for excuse, applies in excuses.items() if applies), None)


def _other_base(evidence: Evidence) -> str:
    """A sentence on the known base, and the usual layers of it, that have exactly the counts of the card."""
    if not evidence.totals or not evidence.trainable:
        return ""
    total, trainable, rank = evidence.totals[0], evidence.trainable[0], (evidence.config or {}).get("r") or 8
    near = [e for e in KNOWLEDGE["bases"] if 0.985 < e["parameters"] / max(total.value - trainable.value, 1) <= 1]
    for base in (known_bases(entry["names"][0])[0] for entry in near):
        for layers in USUAL_LAYERS:
            adapter = {"peft_type": PLAIN.peft_type, "r": rank, "target_modules": layers}
            if any(trainable.fits(c.trainable) and total.fits(c.all) for c in base.counts(adapter, "SEQ_CLS")):
                return f" The card's counts are those of {base.name} with rank {rank} on {', '.join(layers)}."
    return ""


def part_findings(evidence: Evidence) -> Iterator[Finding]:
    """Verdicts on what the card says is the adapter's part and the head's."""
    if not (file := evidence.file):
        return
    for statement in evidence.card.stated("trainable"):
        for words, head in {"are the adapter": False, "the classification head": True}.items():
            stored = file.sizes(head)[0]
            for printed in re.findall(rf"([\d,]+) {words}", statement.value):
                found = Known([(f"the file holds {stored:,}", stored)]).verdict(numbers(printed, True)[0])
                yield Finding(f"{printed} {words}", *found, "count")


def share_findings(evidence: Evidence) -> Iterator[Finding]:
    """Verdicts on the share of trained parameters, by the card's own counts and the recomputed ones."""
    right, trainable = evidence.right, evidence.trainable
    stated = [number.value for number in trainable]
    known_parts = list(right.trained) if right else []
    wholes = [number.value for number in evidence.totals] + (list(right.totals) if right else [])
    labelled, beside = _stated_shares(evidence.card)
    for number in labelled + beside:
        parts = (stated or known_parts) if number in beside else stated + known_parts
        shares = sorted({100 * part / whole for part in parts for whole in wholes if whole})
        known = [(f"the counts give {share:.4g}%", share) for share in shares]
        known += [] if number.is_percent else [(clause, share / 100) for clause, share in known]
        if known and not number.is_aside:
            found = Known(known, proof=len(trainable) == 1).verdict(number)
            yield Finding(f"{number.printed}% trainable", *found, "percentage")


def _stated_shares(card: Card) -> tuple[list[Number], list[Number]]:
    """The shares of trained parameters: under a label of their own, and beside the number of trainable ones."""
    percents = [[n for n in numbers(s.value) if n.is_percent and not n.is_aside] for s in card.stated("trainable")]
    as_peft = [n for found in percents for n in found[1:] if re.match(r"\W*as PEFT", n.after)]
    labelled = [n for s in card.stated("share") for n in numbers(s.value)[:1]]
    return labelled, [found[0] for found in percents if found] + as_peft


# ---------------------------------------------------------------- sizes in bytes, share of zeros

PART = rf"(base|adapter|{PLAIN.name}|head)"
ITS_OWN = r"\s*(?:model|weights|file)?\s*(?:has|is|takes|of|:|=)?\s*\d"  # what follows is the size of the part
SIZE = re.compile(
    rf"(?:\b{PART}(?:\s(?:model|weights|file|of|is|takes|has))*[\s:(]*)?"
    rf"(?<![\w.,])(\d[\d,.]{{0,17}})\s?([KMG]i?B)\b(?:\s?\(?(?:for |of |in |the )*{PART}\b(?!{ITS_OWN}))?",
    re.I,
)
UNITS = {"k": (1e3, 2**10), "m": (1e6, 2**20), "g": (1e9, 2**30)}  # many print MB and mean MiB


def size_findings(evidence: Evidence) -> Iterator[Finding]:
    """Verdicts on sizes: of the adapter by its file, of the whole model by what PEFT counts in 32 and 16 bits."""
    for label in ("model_size", "adapter_size"):
        for statement in evidence.card.stated(label, even_nothing=True):
            sizes = list(SIZE.finditer(statement.value))
            if not sizes and label == "model_size":
                yield Finding(statement.claim, MISSING, "The card states no measured size.", "size")
            for match in sizes:
                before, digits, unit, after = match.groups()
                part = (after or before or "").lower().replace(PLAIN.name, "adapter")
                has_head = "head" in statement.value.lower() and len(sizes) > 1
                whole = label == "model_size" and not has_head  # which sums up its parts
                known = _known_sizes(evidence, part, whole, has_head)
                stands = numbers(statement.value[: match.end(2)])[-1]
                after_it = statement.value[match.end() :]
                number = replace(numbers(digits)[0], about=stands.about, before=stands.before, after=after_it)
                in_unit = [(said, size / f) for said, size in known.values for f in UNITS[unit[0].lower()]]
                claim = match[0].replace("(", "") if part else statement.claim
                proof = known.proof and bool(part or match is sizes[0])  # a later size may be of anything
                yield Finding(claim, *replace(known, values=in_unit, proof=proof).verdict(number), "size")


def _known_sizes(evidence: Evidence, part: str, whole: bool, has_head: bool) -> Known:
    """What a size may be of, in bytes; without a file of the adapter, what one would be.

    Where a statement speaks of the head, too, its adapter is the part without the head.
    """
    bits, counts = {"32 bits": 4, "16 bits": 2}, None
    sizes: dict[str, float] = {}
    in_4_bits = WORDS["four_bit"].search(evidence.card.own_text)
    if part == "base":
        likely_or_bare = [evidence.likely, *(base.sized(None, "FEATURE_EXTRACTION") for base in evidence.bases)]
        for said, width in bits.items():
            named = {f"the base of {c.base:,} parameters in {said}": c for c in likely_or_bare if c}
            sizes |= {name: c.base * width + c.buffer_bytes for name, c in named.items()}
    elif file := evidence.file:
        parts = {"adapter": file.sizes(head=False)[1], "head": file.sizes(head=True)[1]}
        parts |= {"trained part": sum(parts.values()), "file": file.file_bytes}
        meant = {"adapter": parts if not has_head else ["adapter"], "head": ["head"]}.get(part, parts)
        sizes = {f"the {name}": size for name, size in parts.items() if name in meant}
    if not part and (whole or not sizes) and (counts := evidence.likely):
        models = {"the model": counts.all, "the model with its head once": counts.totals[1], "the base": counts.base}
        for said, width in bits.items():
            sizes[f"what is trained in {said}"] = counts.trainable * width
            of_model = {f"{name} in {said}": n * width + counts.buffer_bytes for name, n in models.items()}
            sizes |= of_model if whole else {}
    values = [(f"{name} takes {s / 1e6:,.2f} MB or {s / 2**20:,.2f} MiB", s) for name, s in sizes.items()]
    proof = not counts and not (part == "base" and in_4_bits)
    return Known(values, proof, "" if values else NO_ADAPTER)


def sparsity_findings(evidence: Evidence) -> Iterator[Finding]:
    """Verdicts on a share of zeros, by the file's numbers; a method that removes ranks leaves none of its zeros."""
    removes = evidence.card.is_varying and not re.search(r"magnitude|prun", evidence.card.text, re.I)
    shares = evidence.file.zeros if evidence.file and evidence.card.stated("sparsity") else {}
    known = [(f"{share:.1%} {name}", (share - 0.005, share + 0.005)) for name, share in shares.items()]
    remark = "The zeros do not make the file smaller." if any(shares.values()) else ""
    for statement in evidence.card.stated("sparsity"):
        for number in numbers(statement.value)[:1]:
            found = Known(known, number.is_percent and not removes, remark if known else "The file is not here.")
            yield Finding(statement.claim, *found.verdict(number.as_share), "sparsity")


PARAMETER_CHECKS = (count_findings, part_findings, share_findings, size_findings, sparsity_findings)
