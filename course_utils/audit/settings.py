"""What a card says of how the adapter was made: base, method, rank, layers, and every named setting of PEFT."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from math import inf

from course_utils.audit.adapter import Adapter
from course_utils.audit.card import Card, Statement
from course_utils.audit.counts import known_bases
from course_utils.audit.evidence import Evidence
from course_utils.audit.findings import HOLDS, REFUTED, UNCHECKED, Finding, Known
from course_utils.audit.knowledge import WORDS, layers_named, methods_named, normal
from course_utils.audit.numbers import begins_with_number, numbers

NO_ADAPTER = "No adapter lies beside the card; --adapter DIR names one."
CODE = re.compile(r"`[^`]*`|'[\w.]+'|\"[\w.]+\"")
VERDICT = {True: HOLDS, False: REFUTED, None: UNCHECKED}
FIELDS = {  # label → the names of PEFT's settings that it may mean
    "rank": ("r", "init_r", "target_r"),
    "alpha": ("lora_alpha", "alpha"),
    "virtual": ("num_virtual_tokens",),
    "dropout": ("lora_dropout", "hira_dropout", "rank_dropout", "module_dropout", "adapter_dropout"),
}
STORED_TYPES = {  # safetensors' name → how cards call it
    "F32": r"f(loat|p)?[ -]?32|full precision",
    "F16": r"(?<!b)f(loat|p)?[ -]?16|half precision",
    "BF16": r"b(f|float|fp)[ -]?16",
}


# ---------------------------------------------------------------- base and method


def base_findings(evidence: Evidence) -> Iterator[Finding]:
    """Verdicts on the base models that the card names, by the adapter's configuration and its stored parameters."""
    adapter, given = evidence.adapter, evidence.given
    if adapter and adapter.base:
        said = f"adapter_config.json: {adapter.base}."
    else:
        said = f"The configuration that was given: {given and given.name}."
    for name in evidence.card.bases if adapter or given else []:
        same = _is_base(name, evidence)
        unsure = f" Whether that is a copy of {name}, or made from it, is not known." if same is None else ""
        yield Finding(f"Base model {name}", VERDICT[same], said + unsure, "base")


def _is_base(name: str, evidence: Evidence) -> bool | None:
    """Whether the base model `name` is the adapter's; None where neither yes nor no is proved."""
    named, own = known_bases(name), evidence.adapter.base if evidence.adapter else ""
    if own and _words(name) == _words(own):
        return True
    of_adapter = [evidence.given] if evidence.given else known_bases(own)
    if named and of_adapter:
        return bool({base.config for base in named} & {base.config for base in of_adapter})
    if own and _are_of_different_families(_words(name), _words(own)):
        return None if _describes(name, own) else False
    if named and (file := evidence.file) and file.trained:
        fitting = (c for base in named for c in base.counts(file.config, file.task, file.classes))
        return None if any(counts.trainable == file.trained for counts in fitting) else False
    return None


def _words(name: str) -> frozenset[str]:
    """The words of a model's name that identify the model, without its owner and its form of storage."""
    words = re.findall(r"\d+(?:\.\d+)?[bm]?|[a-z]+\d*(?:\.\d+)?", name.lower().rstrip("/").rpartition("/")[2])
    return frozenset(word for word in words if not WORDS["neutral"].fullmatch(word))


def _are_of_different_families(*names: frozenset[str]) -> bool:
    """Whether two names are of different architectures, or of different sizes of one."""
    bare = [_without_numbers(words) & _families() for words in names]
    sizes = [{word for word in words if WORDS["sizes"].fullmatch(word)} for words in names]
    in_digits = [{size for size in of if size[0].isdigit()} for of in sizes]  # 66m is no other size than base
    in_words = [of - digits for of, digits in zip(sizes, in_digits, strict=True)]
    other_size = any(all(of) and not set.intersection(*of) for of in (in_digits, in_words))
    return all(bare) and (not set.intersection(*bare) or other_size)


def _describes(said: str, own: str) -> bool:
    """Whether `said` is no name but words of which one may be about the model `own`: "a distilled BERT"."""
    words = _without_numbers(word for word in _words(said) if not WORDS["sizes"].fullmatch(word))
    is_name = " " not in said or words <= _families()
    return not is_name and any(family in own.lower() for family in words & _families())


def _without_numbers(words: Iterable[str]) -> set[str]:
    return {re.sub(r"[\d.]+$", "", word) for word in words}


@cache
def _families() -> set[str]:
    from transformers import CONFIG_MAPPING

    named = [name for name in CONFIG_MAPPING if not name.endswith("coder")]  # an encoder may be of any family
    return {re.sub(r"\d.*$", "", name.lower().partition("-")[0]) for name in named} - {""}


def method_findings(evidence: Evidence) -> Iterator[Finding]:
    """Verdict on the method that the card names under a label, or else in its title."""
    card, adapter = evidence.card, evidence.adapter
    stated = [(s.claim, named) for s in card.stated("method") if (named := methods_named(s.value))]
    titles = [(f"Title: {title}", methods_named(title)) for title in card.headings[:1] if not stated]
    for claim, named in stated + titles:
        if adapter and len(named) == 1:
            source = "file" if adapter.tensors else "configuration"
            said = f"The adapter is {' and '.join(sorted(adapter.kinds))}, by its {source}."
            verdict = VERDICT[adapter.is_of(named[0])]
            is_other = verdict == REFUTED and WORDS["compared"].search(claim)  # "better than IA3"
            yield Finding(claim, UNCHECKED if is_other else verdict, said, "method")
        elif named and stated:
            yield Finding(claim, UNCHECKED, "The card names several methods." if adapter else NO_ADAPTER, "method")


# ---------------------------------------------------------------- rank, alpha, dropout, layers, types


def setting_findings(evidence: Evidence) -> Iterator[Finding]:
    """Verdicts on rank, alpha, dropout, layers, types, and on every setting that has PEFT's name for it."""
    card, adapter = evidence.card, evidence.adapter
    stated = {name: card.stated(name) for name in (*FIELDS, "targets", "dtype", "adapter_dtype")}
    labelled = [statement for of_name in stated.values() for statement in of_name]
    for field in adapter.config if adapter else []:
        called_so = [s for s in card.statements if s.label == normal(field) and not s.row and s not in labelled]
        stated.setdefault(field, []).extend(called_so)
    for name, statements in stated.items():
        several = len({s.value for s in statements}) > 1
        for statement in statements:
            found = _setting(name, statement, adapter, card) if adapter else (UNCHECKED, NO_ADAPTER)
            if found and several and found[0] == REFUTED:
                found = UNCHECKED, f"{found[1]} The card states several values."
            kind = {"rank": "rank", "targets": "layers"}.get(name, "setting")
            yield from [Finding(statement.claim, *found, kind)] if found else []


def _setting(name: str, statement: Statement, adapter: Adapter, card: Card) -> tuple[str, str] | None:
    """The verdict on one setting, and what the adapter has; None where there is nothing to compare."""
    if name == "targets":
        return _layers(statement.value, adapter, card)
    if name.endswith("dtype"):
        return _stored_type(statement, adapter, name == "adapter_dtype")
    values = [v for field in FIELDS.get(name, (name,)) if (v := adapter.config.get(field)) is not None]
    if name == "rank":
        pattern = adapter.config.get("rank_pattern") or {}
        values = [*values, *pattern.values()] if card.is_varying or pattern else adapter.ranks or values
    plain = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if not plain:
        exact = [str(value).lower() for value in values if isinstance(value, str | bool)]
        holds = statement.value.strip("`*\"' .").lower() in exact
        return (HOLDS if holds else UNCHECKED, f"adapter_config.json: {', '.join(exact)}.") if exact else None
    if not begins_with_number(statement.value):
        return None
    number, *more = (number.as_share for number in numbers(statement.value))
    leaves_fewer = name == "rank" and card.is_varying  # fewer than at the start of training
    known = [(f"the adapter has {value:g}", (value, inf) if leaves_fewer else value) for value in plain]
    one_of_several = any(other.fits(value) for other in more for value in plain)
    of_another = number.is_percent and name != "dropout"  # a rank of 1% of the width
    return Known(known, proof=not one_of_several and not of_another).verdict(number)


def _layers(value: str, adapter: Adapter, card: Card) -> tuple[str, str]:
    """The verdict on the layers that are named."""
    named, pattern = layers_named(value), adapter.config.get("target_modules")
    if isinstance(pattern, str) and pattern.replace("-", " ") in value.replace("-", " "):
        return HOLDS, f"adapter_config.json: {pattern}."
    if not named or not adapter.layers:
        return UNCHECKED, "The layers are named in words, or by a pattern."
    saved = tuple(adapter.config.get("modules_to_save") or [])
    named = {name for name in named if name in adapter.layers or not name.endswith(saved)}  # these are trained whole
    named = {name for name in named if not re.match("[A-Z][a-z]", name)}  # nn.Linear is a class
    said = f"The adapter has {', '.join(sorted(adapter.layers))}."
    if named == adapter.layers or (card.is_varying and adapter.layers < named):
        return HOLDS, said
    if named & {part for tensor in adapter.tensors for part in tensor.split(".")} - adapter.layers:
        return UNCHECKED, f"{said} What is named contains them."
    words = re.findall(r"[^\W\d_]+", CODE.sub("", value)) if CODE.search(value) else []
    are_names = named & adapter.layers or "_" in value or (CODE.search(value) and set(words) <= {"and", "und"})
    is_list = all(map(WORDS["in_lists"].fullmatch, words))  # in a sentence it may name what is not adapted, too
    return REFUTED if are_names and (is_list or not adapter.layers <= named) else UNCHECKED, said


def _stored_type(statement: Statement, adapter: Adapter, of_file: bool) -> tuple[str, str] | None:
    """The verdict on a type of numbers; unless the card speaks of the file, the base model's type may be meant."""
    named = {stored for stored, words in STORED_TYPES.items() if re.search(words, statement.value, re.I)}
    stored = {of for _, of in adapter.tensors.values()}
    if not named or not stored:
        return None
    right, of_file = bool(named & stored), of_file and not re.search("train", statement.value, re.I)
    said = f"The file's numbers are {', '.join(sorted(stored))}."
    unsure = "" if right or of_file else " Whether the base's or the adapter's are meant is not stated."
    return VERDICT[right or (False if of_file and len(named) == 1 else None)], said + unsure


SETTING_CHECKS = (base_findings, method_findings, setting_findings)
