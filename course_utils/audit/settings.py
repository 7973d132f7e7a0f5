"""What a card says of the adapter's making: base, method, rank, layers, sizes, sparsity."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from course_utils.audit.adapter import Adapter
from course_utils.audit.card import Card, Number, Statement, begins_with_number, numbers
from course_utils.audit.counts import Base, Counts, known_bases
from course_utils.audit.findings import HOLDS, MISSING, REFUTED, UNCHECKED, Finding
from course_utils.audit.knowledge import KNOWLEDGE, WORDS, is_label, normal
from course_utils.methods import METHODS

NO_ADAPTER = "No adapter lies beside the card; --adapter DIR names one."
FIELDS = {"rank": ("r", "init_r", "target_r"), "alpha": ("lora_alpha", "alpha"), "virtual": ("num_virtual_tokens",)}


# ---------------------------------------------------------------- the base


def base_findings(card: Card, adapter: Adapter | None, given: Base | None) -> Iterator[Finding]:
    """Verdicts on the base models that the card names, by the adapter's configuration and by what its file fits."""
    for name in card.bases if adapter or given else []:
        verdict, found = _base(name, [b for other in card.bases for b in known_bases(other)], adapter, given)
        yield Finding(f"Base model {name}", verdict, found, "base")


def _base(name: str, _: list[Base], adapter: Adapter | None, given: Base | None) -> tuple[str, str]:
    own = str(adapter.config.get("base_model_name_or_path") or "") if adapter else ""
    said = f"adapter_config.json: {own}." if own else f"The configuration that was given: {given and given.name}."
    of_card, of_adapter = known_bases(name), [given] if given else known_bases(own)
    if own and _words(name) == _words(own):
        return HOLDS, said
    if of_card and of_adapter:
        same = {b.config for b in of_card} & {b.config for b in of_adapter}
        return (HOLDS, said) if same else (REFUTED, said)
    if own and _families_differ(_words(name), _words(own)):
        return REFUTED, said
    if (
        of_card
        and adapter
        and adapter.trained
        and not any(
            c.trainable == adapter.trained
            for b in of_card
            for c in b.counts(adapter.config, adapter.config.get("task_type"), adapter.classes)
        )
    ):
        return REFUTED, f"{said} What the file holds does not fit {name}."
    return UNCHECKED, f"{said} Whether that is a copy of {name}, or made from it, is not known."


def _words(name: str) -> frozenset[str]:
    """The words of a model's name that say which it is, its owner and its form of storage left out."""
    words = re.findall(r"\d+(?:\.\d+)?[bm]?|[a-z]+\d*(?:\.\d+)?", name.lower().rstrip("/").rpartition("/")[2])
    return frozenset(word for word in words if not re.fullmatch(WORDS["neutral"], word))


def _families_differ(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two names are of different architectures, or of different sizes of one."""
    of_one, of_other = ({w for w in words if re.sub(r"[\d.]+$", "", w) in _families()} for words in (one, other))
    sizes = [{w for w in words if re.fullmatch(WORDS["sizes"], w)} for words in (one, other)]
    alike = {re.sub(r"[\d.]+$", "", w) for w in of_one} & {re.sub(r"[\d.]+$", "", w) for w in of_other}
    return bool(of_one and of_other) and (not alike or bool(sizes[0] and sizes[1] and not sizes[0] & sizes[1]))


@cache
def _families() -> set[str]:
    from transformers import CONFIG_MAPPING

    return {re.sub(r"\d.*$", "", part) for name in CONFIG_MAPPING for part in name.lower().split("-")[:1]} - {""}


# ---------------------------------------------------------------- the method


def methods_named(text: str) -> list[str]:
    """The methods that `text` names, by the titles of the registry and by PEFT's own types and switches."""
    from peft import LoraConfig
    from peft.utils import PeftType

    titles = [m.title for m in METHODS.values() if not m.is_baseline] + [t.value for t in PeftType]
    titles += [name.removeprefix("use_") for name in LoraConfig.__dataclass_fields__ if name.startswith("use_")]
    patterns = {re.sub(r"[\W_]+", r"[\\s_-]*", title.lower()) for title in titles}
    either = "|".join(sorted(patterns, key=len, reverse=True))
    plain = text.lower().replace("³", "3").replace("(ia)^3", "ia3").replace("(ia)3", "ia3")
    return list(
        dict.fromkeys(
            re.sub(r"[\W_]", "", found) for found in re.findall(rf"(?<![a-z\d])(?:{either})(?![a-z\d])", plain)
        )
    )


def is_kind(named: str, adapter: Adapter) -> bool | None:
    """Whether the adapter is of the method that is `named`; None where what lies here does not tell."""
    config, kinds = adapter.config, {re.sub("_", "", kind.lower()) for kind in adapter.kinds}
    if named in kinds or any(config.get(f"use_{named}") for _ in "."):
        return True
    ours = [m for m in METHODS.values() if re.sub(r"[\W_]", "", m.title.lower()) == named]
    if f"use_{named}" in config:
        return False
    if any(method.wrote(config | {"peft_type": kind}) for method in ours for kind in adapter.kinds):
        return True
    return None if any(kind.endswith(named) for kind in kinds) else False


def method_findings(card: Card, adapter: Adapter | None) -> Iterator[Finding]:
    """Verdict on the method that the card names under a label, or else in its title."""
    stated = [(s.claim, methods_named(s.value)) for s in card.stated("method")]
    stated = [(claim, named) for claim, named in stated if named] or [
        (f"Title: {h}", methods_named(h)) for h in card.headings[:1]
    ]
    for claim, named in stated:
        if len(named) == 1 and adapter:
            right = is_kind(named[0], adapter)
            source = "file" if adapter.shapes else "configuration"
            said = f"The adapter is {' and '.join(sorted(adapter.kinds))}, by its {source}."
            yield Finding(claim, {True: HOLDS, False: REFUTED, None: UNCHECKED}[right], said, "method")
        elif named and not claim.startswith("Title"):
            yield Finding(claim, UNCHECKED, "It names several." if adapter else NO_ADAPTER, "method")


def is_varying(card: Card) -> bool:
    """Whether the card names a method that leaves fewer ranks than it began with."""
    return any(WORDS["varying"].search(s.value) for s in card.stated("method")) or bool(
        card.headings and WORDS["varying"].search(card.headings[0])
    )


# ---------------------------------------------------------------- rank, alpha, dropout, layers


def targets_named(value: str) -> list[str]:
    """The layers that a value names; none where it says in words which they are."""
    if re.search(r"\.\.\.|…|\betc\b|\ball\b(?!-linear)|\be\.g\.", value):
        return []
    if marked := re.findall(r"[`'\"]([\w.*|-]+)[`'\"]", value):
        return [name.rpartition(".")[2] for name in marked]
    words = [w for w in re.split(r"[\s,;/&+\[\]()]+|\band\b", re.sub(r"\(.*?\)", "", value)) if w]
    return (
        [w.rpartition(".")[2] for w in words]
        if all(re.fullmatch(r"[A-Za-z][\w.]*", w) for w in words)
        and (len(words) == 1 or all(w in _layer_names() or "_" in w for w in words))
        else []
    )


@cache
def _layer_names() -> set[str]:
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TARGETS

    return {name for names in TARGETS.values() for name in names} | {
        "key",
        "dense",
        "wi",
        "wo",
        "c_proj",
        "c_fc",
        "k",
        "o",
    }


def setting_findings(card: Card, adapter: Adapter | None, counts: Counts | None) -> Iterator[Finding]:
    """Verdicts on rank, alpha, dropout, layers, and on everything that is called as PEFT calls it."""
    names = [*FIELDS, "dropout", "targets"]
    stated = [(name, s) for name in names for s in card.stated(name)]
    if adapter:
        called = {normal(field): field for field in adapter.config}
        stated += [
            (called[s.label], s)
            for s in card.statements
            if s.label in called and not s.row and not any(is_label(n, s.label) for n in names)
        ]
    for name, statement in stated:
        others = {s.value for other, s in stated if other == name}
        if not adapter:
            yield Finding(statement.claim, UNCHECKED, NO_ADAPTER, "setting")
        elif verdict := _setting(name, statement, adapter, card):
            right, said = verdict
            several = right is False and len(others) > 1
            said += " The card states several." if several else ""
            kind = {"rank": "rank", "targets": "layers"}.get(name, "setting")
            verdict_of = HOLDS if right else UNCHECKED if right is None or several else REFUTED
            yield Finding(statement.claim, verdict_of, said, kind)


def _setting(name: str, statement: Statement, adapter: Adapter, card: Card) -> tuple[bool | None, str] | None:
    """Whether the adapter has this setting, and what it has; None where there is nothing to compare."""
    config, printed = adapter.config, numbers(statement.value)
    if name == "targets":
        return _targets(statement, adapter, card)
    fields = FIELDS.get(name) or ([f for f in config if f.endswith("dropout")] if name == "dropout" else [name])
    values = [config[field] for field in fields if config.get(field) is not None]
    if name == "rank":
        values += [*(config.get("rank_pattern") or {}).values(), *adapter.ranks]
    plain = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    said = f"The adapter has {', '.join(dict.fromkeys(f'{value:g}' for value in plain))}."
    if not plain:
        exact = [str(value).lower() for value in values if isinstance(value, str | bool)]
        word = statement.value.strip("`*\"' .").lower()
        return (word in exact or None, f"adapter_config.json: {', '.join(exact)}.") if exact else None
    if not begins_with_number(statement.value) or printed[0].about:
        return None
    if printed[0].after.lstrip().startswith("%"):
        printed[0] = printed[0].scaled(0.01)
    fits = any(printed[0].fits(value) for value in plain)
    larger = name == "rank" and is_varying(card) and printed[0].value > max(plain)
    if (
        fits
        and name == "rank"
        and adapter.ranks
        and not larger
        and not any(printed[0].fits(r) for r in [*adapter.ranks, *(config.get("rank_pattern") or {})])
    ):
        return False, f"The file's factors have rank {', '.join(map(str, sorted(adapter.ranks)))}."
    one_of_several = any(number.fits(value) for number in printed[1:] for value in plain)
    return fits or larger or (None if one_of_several else False), said


def _targets(statement: Statement, adapter: Adapter, card: Card) -> tuple[bool | None, str] | None:
    named, pattern = set(targets_named(statement.value)), adapter.config.get("target_modules")
    if isinstance(pattern, str) and pattern.replace("-", " ") in statement.value.replace("-", " "):
        return True, f"adapter_config.json: {pattern}."
    if not named or not adapter.layers:
        return None, "The layers are named in words, or by a pattern."
    said = f"The adapter has {', '.join(sorted(adapter.layers))}."
    return named == adapter.layers or (is_varying(card) and adapter.layers < named), said


# ---------------------------------------------------------------- sizes in bytes, share of zeros


UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
SIZE = re.compile(r"(base model of )?(\d[\d,.]*)\s?([KMG]i?B)\b( adapter| head)?", re.I)


def size_findings(card: Card, adapter: Adapter | None, counts: list[Counts], encoders: list[int]) -> Iterator[Finding]:
    """Verdicts on sizes: of the adapter by its file, of the whole model by what PEFT counts in 32 and 16 bits."""
    for kind in ("model_size", "adapter_size"):
        for statement in (s for s in card.statements if is_label(kind, s.label) and not s.row):
            sizes = SIZE.findall(statement.value)
            if not sizes and kind == "model_size":
                stored = (
                    f" The adapter's file takes {adapter.file_bytes / 1e6:,.2f} MB."
                    if adapter and adapter.shapes
                    else ""
                )
                yield Finding(statement.claim, MISSING, f"The size was never measured.{stored}", "size")
            for base, digits, unit, part in sizes:
                about = WORDS["about"].search(statement.value.partition(digits)[0])
                number = Number(numbers(digits)[0].value, numbers(digits)[0].unit, digits, bool(about))
                whole = kind == "model_size" and not part and " head" not in statement.value  # which sums up its parts
                verdict, said = _size(number, unit, base, part.strip(), whole, adapter, counts, encoders, card.own_text)
                claim = f"{base}{digits} {unit}{part}" if base or part else statement.claim
                yield Finding(claim, verdict, said, "size")


def _size(
    number: Number,
    unit: str,
    base: str,
    part: str,
    whole: bool,
    adapter: Adapter | None,
    counts: list[Counts],
    encoders: list[int],
    text: str,
) -> tuple[str, str]:
    units = {UNITS[unit.lower()], UNITS[f"{unit[0].lower()}ib"]}  # many print MB and mean MiB
    sizes: dict[str, float] = {}
    if base:
        sizes = {f"the base of {size / 1e6:.2f} MB": float(size) for size in encoders}
    elif adapter and adapter.shapes:
        heads = {"adapter": (False,), "head": (True,)}.get(part.lower(), (None, False))
        sizes = {"what was trained": float(adapter.sizes(heads[0])[1])}
        sizes |= (
            {"its file": float(adapter.file_bytes), "the adapter without the head": float(adapter.sizes(heads[-1])[1])}
            if not part
            else {}
        )
    exact = bool(sizes) and not whole and not (base and WORDS["four_bit"].search(text))
    if not base and (whole or not sizes):
        for bits in (32, 16):
            for c in counts:
                of = {
                    f"the whole model in {bits} bits": max(c.totals) * bits / 8 + c.buffer_bytes,
                    f"what is trained, in {bits} bits": c.trainable * bits / 8,
                }
                of |= {
                    f"the model with the saved modules once, in {bits} bits": c.totals[1] * bits / 8 + c.buffer_bytes
                }
                of |= {f"the base in {bits} bits": c.base * bits / 8 + c.buffer_bytes}
                sizes |= {name: size for name, size in of.items() if whole or "trained" in name}
    right = [name for name, size in sizes.items() if any(number.fits(size / factor) for factor in units)]
    said = ", ".join(f"{name} takes {size / 1e6:,.2f} MB or {size / 2**20:,.2f} MiB" for name, size in sizes.items())
    if right:
        return HOLDS, f"It is {right[0]}: {sizes[right[0]] / 1e6:,.2f} MB, {sizes[right[0]] / 2**20:,.2f} MiB."
    if number.about or not sizes:
        return UNCHECKED, said or NO_ADAPTER
    largest, smallest = 1.05 * max(sizes.values()), 0.1 * min(sizes.values())
    impossible = whole and bool(counts) and not smallest <= number.value * min(units) <= largest
    return (REFUTED if exact or impossible else UNCHECKED), f"{said[:1].upper()}{said[1:]}."


def sparsity_findings(card: Card, adapter: Adapter | None) -> Iterator[Finding]:
    """Verdicts on a share of zeros, by the file's numbers."""
    for statement in card.stated("sparsity"):
        if not (printed := numbers(statement.value)):
            continue
        percent = bool(re.match(r"\W*[\d.,]+\s?%", statement.value))
        if not adapter or not adapter.shapes:
            yield Finding(statement.claim, UNCHECKED, "The adapter's numbers are not here.", "sparsity")
            continue
        number, shares = printed[0].scaled(0.01) if percent else printed[0], adapter.zeros
        right = next(
            (name for name, share in shares.items() if number.fits(share) or abs(share - number.value) < 0.005), None
        )
        found = "; ".join(f"{share:.1%} {name}" for name, share in shares.items())
        remark = " The file is no smaller for its zeros." if shares["of the adapter's numbers are zero"] > 0.01 else ""
        proof = percent and not number.about and not is_gated(card)
        verdict = HOLDS if right else REFUTED if proof else UNCHECKED
        yield Finding(statement.claim, verdict, f"{found}.{remark}", "sparsity")


def is_gated(card: Card) -> bool:
    """Whether the card's method removes ranks, so that its zeros are no longer in the file."""
    return any(
        m.picture.gated and m.title in s.value for m in METHODS.values() for s in card.stated("method")
    ) and not re.search(r"magnitude|prun", card.text, re.I)


def card_adapter(card: Card) -> dict[str, Any] | None:
    """The configuration that the card itself describes: method, rank, layers; None where it does not."""
    rank = [n for s in card.stated("rank") for n in numbers(s.value)]
    targets = [name for s in card.stated("targets") for name in targets_named(s.value)]
    named = [name for s in card.stated("method") for name in methods_named(s.value)]
    kinds = (
        {m.peft_type for m in METHODS.values() if re.sub(r"[\W_]", "", m.title.lower()) in named} or set()
        if named
        else {"LORA".upper()}
    )
    if not rank or not targets or len(kinds) != 1:
        return None
    return {"peft_type": kinds.pop(), "r": int(rank[0].value), "target_modules": sorted(set(targets))}


LAYERS = [["query", "value"], ["query", "key", "value"], ["q_lin", "v_lin"], ["q_lin", "k_lin", "v_lin"]]


def base_of_counts(total: Number, trainable: Number, rank: int) -> str | None:
    """The known base, and the usual layers of it, that have exactly these counts at this rank."""
    from course_utils.methods import PLAIN

    for entry in KNOWLEDGE["bases"]:
        if not 0.985 < entry.get("parameters", 0) / max(total.value - trainable.value, 1) <= 1:
            continue
        base = known_bases(entry["names"][0])[0]
        for targets in LAYERS:
            adapter = {"peft_type": PLAIN.peft_type, "r": rank, "target_modules": targets}
            for counts in base.counts(adapter, "SEQ_CLS"):
                if trainable.fits(counts.trainable) and total.fits(counts.all):
                    return f"{base.name} with rank {rank} on {', '.join(targets)}"
    return None
