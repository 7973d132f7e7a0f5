"""Checks a model card of a PEFT adapter, claim by claim, against what can be recomputed without its weights.

Cards are text that people wrote. What a claim means is read from its label ("Rank (r)", "all params"), and a number
is held to its printed digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from course_utils.audit.claims import Adapter, Card, Number, normal, numbers, read_adapter, read_card
from course_utils.audit.parameter_counts import KNOWN, Counts, encoders, known_encoder, leaf, search
from course_utils.errors import CourseError
from course_utils.inputs.splits import SST2_VALIDATION
from course_utils.methods import METHODS
from course_utils.methods.base import Method
from course_utils.runs import read_run
from course_utils.stats import wilson_interval
from course_utils.tasks.classification import METRICS
from course_utils.text import one_line
from course_utils.training.card import run_intervals

HOLDS, REFUTED, UNCHECKED, MISSING = "holds", "refuted", "cannot be checked", "missing"
VERDICTS = (HOLDS, REFUTED, UNCHECKED, MISSING)
EXAMPLE_CARD = Path(__file__).with_name("example_card.md")

CLASSES = (2, 1, *range(3, 21))
POSITIVE = {SST2_VALIDATION: 444}  # sentences of a set that are, where it is known

SECTIONS = {  # those of a complete card, and how their headings begin or what they hold
    "description": "description|details|summary",
    "training configuration": "training|hyperparameters",
    "results": "results|performance|evaluation|metrics",
    "usage": "usage|how to|get started|loading|inference",
    "limitations": "limitations|risks|bias",
    "citation": "citation|reference",
    "versions": "versions",
    "license": "licen[sc]e",
}
METADATA = ("base_model", "library_name", "license", "language", "pipeline_tag", "tags", "datasets", "metrics")


@dataclass(frozen=True)
class Finding:
    """A claim of a card, the verdict on it (holds, refuted, cannot be checked, missing), and what was found."""

    claim: str
    verdict: str
    found: str


def audit_card(path: Path | str, adapter: Path | str | None = None) -> list[Finding]:
    """What the claims of the model card at `path` come to: counts, settings, sizes, scores, and what is missing.

    `adapter` is the folder of the adapter; by default that of the card, if an adapter lies there. Nothing is
    downloaded. Raises CourseError when `path` is no model card, or `adapter` holds no adapter.
    """
    path = Path(path)
    card = read_card(path)
    folder = Path(adapter) if adapter else path.parent
    files = read_adapter(folder) if adapter or (folder / "adapter_config.json").is_file() else None
    findings = [
        *_counts(card, files),
        *_settings(card, files),
        *_sizes(card, files),
        *_scores(card),
        *(_predicted(card, folder.parent) if files else []),
        *_metadata(card),
    ]
    if all(finding.verdict == MISSING for finding in findings) and not any(map(card.data.get, METADATA)):
        raise CourseError(f"{path} is no model card: it has no metadata, and claims nothing that could be checked.")
    return [*findings, *_lacking(card)]


# ---------------------------------------------------------------- numbers of parameters


def _counts(card: Card, files: Adapter | None) -> list[Finding]:
    """Verdicts on the numbers of parameters, total and trainable, and on the percentage."""
    text = card.value("trainable") or ""
    totals = [number for number in numbers(card.value("total") or "") if number.value >= 1000]
    trainable = [number for number in numbers(text) if number.value >= 100][:1]
    if not totals and not trainable:
        return [Finding("Numbers of parameters", MISSING, "The card states none.")]
    claim = [" or ".join(map(str, totals)) + " parameters"] * bool(totals)
    claim += [f"{number} of them trainable" if totals else f"{number} trainable parameters" for number in trainable]

    def fits(counts: Counts) -> bool:
        in_all = all(any(map(number.fits, counts.totals)) for number in totals)
        return in_all and all(number.fits(counts.trainable) for number in trainable)

    candidates = _candidates(card, files, fits, trainable)
    right = next(filter(fits, candidates), None)
    unsure = None if right else _why_unsure(card, files, candidates, trainable)
    if right:
        verdict, found = HOLDS, f"{right}."
    elif unsure:
        verdict, found = UNCHECKED, unsure
    elif candidates:
        verdict, found = REFUTED, f"{candidates[0]}."
        known, rank = [known_encoder(name) for name in KNOWN], _whole(card.value("rank"))
        if totals and trainable:
            value = trainable[0].value
            same = search(known, fits, value, rank=rank) or search(known, fits, value)
            found += f" The card's counts are those of {same.said}." if same else ""
    else:
        layers = dict.fromkeys(layer for encoder in encoders(card.base) for layer in encoder.layers)
        verdict, found = REFUTED, f"{card.base} has no such layers to adapt; it has {', '.join(layers)}."
    counts = right or (candidates[0] if verdict == REFUTED and candidates else None)
    return [
        Finding(", ".join(claim), verdict, found),
        *(_stored(text, trainable, files) if files and files.values else []),
        *_percentages(card, totals, trainable, counts),
    ]


def _candidates(
    card: Card, files: Adapter | None, fits: Callable[[Counts], bool], trainable: list[Number]
) -> list[Counts]:
    """Counts that the named base model can have with the rank and the layers that are stated, likeliest first."""
    if files:
        targets, rank, pattern = files.config.target_modules, files.config.r, files.config.rank_pattern
    else:
        targets, rank, pattern = _targets(card), _whole(card.value("rank")), None
    found = []
    for encoder in encoders(card.base):
        saved = [[name for name in encoder.head if name in (files.config.modules_to_save or [])]] if files else None
        heads = saved or encoder.heads()
        if targets and rank:
            of_classes = map(encoder.with_classes, CLASSES)
            found += [adapted.adapted(targets, rank, head, pattern) for adapted in of_classes for head in heads]
        else:  # what is usual, and whatever fits
            found.append(encoder.adapted(targets or next(encoder.target_sets()), rank or 8, heads[0]))
            found += [search([encoder], fits, number.value, targets, rank) for number in trainable]
    return [counts for counts in found if counts]


def _targets(card: Card) -> list[str]:
    """The target modules that the text names."""
    value = card.value("targets") or ""
    return re.findall(r"`([\w.-]+)`", value) or re.findall(r"[A-Za-z_][\w.]*", re.sub(r"\(.*?\)", "", value))


def _whole(text: str | None) -> int | None:
    found = numbers(text or "")
    return int(found[0].value) if found and 1 <= found[0].value <= 4096 else None


VARYING = re.compile(r"sparse|sora\b|prun", re.I)  # methods whose ranks are not known from a card
OTHERS = re.compile(r"dora\b|ia3|prefix|prompt|p-tuning|vera\b|bitfit|adalora", re.I)


def _why_unsure(card: Card, files: Adapter | None, candidates: list[Counts], trainable: list[Number]) -> str | None:
    """Why counts that no candidate has are not refuted by that; None if they are."""
    if not encoders(card.base):
        return f"The sizes of {card.base or 'the base model, which is not named,'} are not known here."
    method = " ".join([card.value("method") or "", *card.headings[:1]])
    config = files and files.config
    if OTHERS.search(method) or (config and not config.counts_like_lora):
        return "Only the counts of LoRA and its like are recomputed."
    if not trainable and not files and not (_targets(card) and _whole(card.value("rank"))):
        return "Rank and layers are not stated, and a total alone does not tell them."
    largest = max((counts.trainable for counts in candidates), default=0)
    if not files and VARYING.search(method) and all(number.value <= largest for number in trainable):
        return f"At full rank, {candidates[0]}; which ranks are left is known from the adapter alone."
    return None


def _stored(text: str, trainable: list[Number], files: Adapter) -> Iterator[Finding]:
    """Verdicts on the numbers of trained parameters, by what the adapter's file holds."""
    claims: list[tuple[str, Number, bool | None]] = [(f"{number} trainable", number, None) for number in trainable]
    for words, head in {"are the adapter": False, "the classification head": True}.items():
        for printed in re.findall(rf"([\d,]+) {words}", text):
            claims += [(f"{printed} {words}", number, head) for number in numbers(printed)]
    for claim, number, of_head in claims:
        count = files.sum(files.values, of_head)
        yield Finding(claim, HOLDS if number.fits(count) else REFUTED, f"The adapter's file holds {count:,}.")


def _percentages(card: Card, totals: list[Number], trainable: list[Number], counts: Counts | None) -> Iterator[Finding]:
    """Verdicts on the share of trained parameters, by the recomputed counts or else by the card's own."""
    own = {100 * trainable[0].value / total.value for total in totals} if trainable else set()
    right = {100 * counts.trainable / total for total in counts.totals} if counts else own
    whose = "recomputed" if counts else "card's own"
    bare = card.value("share")
    shares = [bare.strip(" %")] if bare else re.findall(r"\d+(?:\.\d+)?(?=\s?%)", card.value("trainable") or "")
    for share in dict.fromkeys(shares) if right else ():
        for number in numbers(share)[:1]:
            if any(map(number.fits, right)):
                yield Finding(f"{share}% trainable", HOLDS, f"The {whose} counts give it.")
            else:
                said = " or ".join(dict.fromkeys(f"{value:.2f}%" for value in sorted(right)))
                also = " The card's own counts give what it says." if any(map(number.fits, own)) else ""
                yield Finding(f"{share}% trainable", REFUTED, f"The {whose} counts give {said}.{also}")


# ---------------------------------------------------------------- settings and sizes


NO_ADAPTER = "No adapter lies beside the card; --adapter DIR names one."


def _settings(card: Card, files: Adapter | None) -> Iterator[Finding]:
    """Verdicts on base model, method, rank, alpha, dropout and target modules, by adapter_config.json."""
    if len({base.rpartition("/")[2].lower() for base in card.bases}) > 1:
        yield Finding(f"Base model {card.bases[1]}", REFUTED, f"The card's own metadata say {card.bases[0]}.")
    names = {"method": "Method", "rank": "Rank", "alpha": "Alpha", "dropout": "Dropout", "targets": "Target modules"}
    stated = {name: re.sub(r"\s*\(.*", "", value) for name in names if (value := card.value(name))}
    if not files:
        if stated:
            yield Finding("; ".join(f"{names[name]} {value}" for name, value in stated.items()), UNCHECKED, NO_ADAPTER)
        return
    config, pruned = files.config, bool(VARYING.search(stated.get("method", "")))
    dropout = config.hira_dropout if config.peft_type == "HIRA" else config.lora_dropout
    targets = config.target_modules or []
    layers = [targets] if isinstance(targets, str) else sorted(set(map(leaf, targets)))
    kind = config.peft_type + (" with use_dora" if config.use_dora else "")
    recorded = {"rank": config.r, "alpha": config.lora_alpha, "dropout": dropout}
    if card.base and (base := config.base_model_name_or_path):
        last, of_card = (name.rstrip("/").rpartition("/")[2].lower() for name in (base, card.base))
        same = last == of_card or {e.name for e in encoders(base)} & {e.name for e in encoders(card.base)}
        yield Finding(f"Base model {card.base}", HOLDS if same else REFUTED, f"adapter_config.json: {base}.")
    for name, value in stated.items():
        said: str | float | None
        if name == "method":
            said, right = kind, any(method.wrote(config.model_dump()) for method in _methods_called(value))
        elif name == "targets":  # where ranks were removed, layers may have gone with them
            said, named = ", ".join(layers), _targets(card)
            right = layers in (sorted(named), [value.strip("` ")]) or (pruned and set(layers) < set(named))
        else:
            said, fewer = recorded[name], pruned and name == "rank"
            right = said is not None and any(n.fits(said) or (fewer and said < n.value) for n in numbers(value)[:1])
        yield Finding(f"{names[name]} {value}", HOLDS if right else REFUTED, f"adapter_config.json: {said}.")


def _methods_called(value: str) -> list[Method]:
    """The methods that a card may mean by `value`: those of this title or name, or else those whose PEFT type it is."""
    called = normal(value)
    named = [method for method in METHODS.values() if called in (normal(method.title), normal(method.name))]
    return named or [method for method in METHODS.values() if method.peft_type.lower() in called]


UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
SIZE = re.compile(r"(base model of )?(\d[\d,.]*)\s?([KMG]i?B)\b( adapter| head)?", re.I)


def _sizes(card: Card, files: Adapter | None) -> Iterator[Finding]:
    """Verdicts on the sizes in bytes, by the adapter's file and by the base model's configuration."""
    value = card.value("size") or ""
    sizes = SIZE.findall(value)
    if not sizes:
        stored = f" The adapter's file takes {files.file_bytes / 1e6:,.2f} MB." if files and files.file_bytes else ""
        yield Finding(f"Model size {value}".strip(), MISSING, f"The size was never measured.{stored}")
    for base, digits, unit, part in sizes:
        of_head = {"": None, " adapter": False, " head": True}[part.lower()]
        if base:
            why_not = "What a quantised base model takes, or one that is not known here, is not recomputed."
            named = (files.config.base_model_name_or_path if files else None) or card.base
            known = [] if "quantization" in card.labelled else [e.encoder_bytes for e in encoders(named)]
        else:
            why_not = NO_ADAPTER
            known = [files.sum(files.bytes, of_head)] if files and files.bytes else []
            known += [files.file_bytes] if files and known and of_head is None else []
        units = {UNITS[unit.lower()], UNITS[f"{unit[0].lower()}ib"]}  # many print MB and mean MiB
        right = any(numbers(digits)[0].scaled(unit).fits(size) for size in known for unit in units)
        found = " or ".join(dict.fromkeys(f"{size / 1e6:,.2f} MB" for size in known))
        verdict = (HOLDS if right else REFUTED) if known else UNCHECKED
        yield Finding(f"{base}{digits} {unit}{part}", verdict, f"It takes {found}." if known else why_not)


# ---------------------------------------------------------------- scores


TITLES = {normal(known.title): metric for metric, known in METRICS.items()}


def _scores(card: Card) -> Iterator[Finding]:
    """Verdicts on every accuracy, with its interval and F1: whether whole numbers of right answers give them."""
    stated: dict[str, Number] = {}  # the set of a table → its accuracy
    for row in card.tables:
        title, printed = row.get("set", ""), numbers(row.get("accuracy", ""))
        if not printed:
            continue
        if title in stated:
            if not stated[title].near(printed[0].value):
                found = "Another table of the card says otherwise."
                yield Finding(f"{title}: accuracy {row['accuracy']}", REFUTED, found)
            yield from _difference(title, row, stated)
            continue
        stated[title] = printed[0]
        sets = {title: card.sets[title]} if title in card.sets else card.sets
        interval = printed[1:] or numbers(row.get("95 percentage interval", ""))
        yield from _score(f"{title}: ", row["accuracy"], sets, interval, row.get("f1"))
    for label, (shown, value) in card.labelled.items():
        before, accuracy, _ = label.partition("accuracy")
        if accuracy and numbers(value):
            f1 = (v for other, (_, v) in card.labelled.items() if other.startswith(f"{before}f1"))
            yield from _score(shown[: len(before)], value, card.sets, numbers(value)[1:], next(f1, None))


def _difference(title: str, row: dict[str, str], stated: dict[str, Number]) -> Iterator[Finding]:
    stated_difference = row.get("difference to the test set", "")
    for number in numbers(stated_difference):
        signed = number.scaled(-1 if stated_difference.startswith(("-", "−")) else 1).value
        right = any(abs(stated[title].value - other.value - signed) <= 4 * number.half for other in stated.values())
        found = "The accuracies that the card states give it." if right else "No two accuracies of the card give it."
        yield Finding(f"{title}: difference {stated_difference}", HOLDS if right else REFUTED, found)


def _score(of: str, value: str, sets: dict[str, int], interval: list[Number], f1: str | None) -> Iterator[Finding]:
    """Verdicts on the accuracy `value`, measured on one of `sets`, and on `f1`, measured on the same."""
    share, claim = _share(value), f"{of}accuracy {value}"
    if not sets:
        yield Finding(claim, UNCHECKED, "The card does not say on how many sentences.")
        return
    answers = {name: (round(share.value * n), n) for name, n in sets.items() if share.value <= 1}
    possible = {name: counts for name, counts in answers.items() if share.fits(counts[0] / counts[1])}
    if not possible:
        nearest = [f"{k:,} of the {n:,} of {name} are {k / n:.5f}" for name, (k, n) in answers.items()]
        yield Finding(claim, REFUTED, f"No number of right answers gives it; {', '.join(nearest) or 'it exceeds one'}.")
        return
    wilson = {name: wilson_interval(*counts) for name, counts in possible.items()}
    found = [
        f"{k:,} of the {n:,} sentences of {name} (95% interval {wilson[name][0]:.3f} to {wilson[name][1]:.3f})"
        for name, (k, n) in possible.items()
    ]
    right = len(interval) != 2 or any(interval[0].fits(low) and interval[1].fits(high) for low, high in wilson.values())
    yield Finding(claim, HOLDS if right else REFUTED, f"It is {', or '.join(found)}.")
    if f1 and numbers(f1):
        examples = [_f1_example(_share(f1), *counts, POSITIVE.get(name)) for name, counts in possible.items()]
        example = next(filter(None, examples), None)
        impossible = "However the right answers fall on the two classes, it comes out otherwise."
        yield Finding(f"{of}F1 {f1}", HOLDS if example else REFUTED, example or impossible)


def _share(text: str) -> Number:
    """The first number in `text` as a share of one."""
    number = numbers(text)[0]
    return number.scaled(0.01) if number.value > 1 or re.match(r"\W*[\d.,]+\s?%", text) else number


def _f1_example(f1: Number, right: int, n: int, positive: int | None) -> str | None:
    """How many of the `right` answers among `n` are positive where one of the usual F1 comes out as `f1`."""
    wrong = n - right
    lowest, highest = (max(0, positive - wrong), min(positive, right)) if positive else (0, right)
    hits = np.arange(lowest, highest + 1)
    of_positive, of_negative = (2 * part / np.maximum(2 * part + wrong, 1) for part in (hits, right - hits))
    kinds = {"the positive class": of_positive, "the negative class": of_negative}
    kinds["both classes, averaged"] = (of_positive + of_negative) / 2
    if positive:
        kinds["both classes, weighted"] = (positive * of_positive + (n - positive) * of_negative) / n
    kinds["all answers, which is the accuracy"] = np.full(len(hits), right / n)
    for kind, values in kinds.items():
        if len(found := np.flatnonzero(np.abs(values - f1.value) <= f1.half * (1 + 1e-9))):
            return f"It is the F1 of {kind} where {hits[found[0]]:,} of the {right:,} right answers are positive."
    return None


def _predicted(card: Card, folder: Path) -> Iterator[Finding]:
    """Verdicts on all metrics and intervals of a set, by the predictions in the run's `folder`, if it is one."""
    try:
        run = read_run(folder)
        computed = {one_line(run.result.data.titles[name]).lower(): of for name, of in run_intervals(run).items()}
    except (CourseError, OSError, ValueError, KeyError):  # no run of ours, or a damaged one
        return
    for row in card.tables:
        of_set = computed.get(row.get("set", "").lower())
        if of_set and "sentences" in row:
            stated = {metric: numbers(row[title]) for title, metric in TITLES.items() if row.get(title)}
            wrong = [
                f"{METRICS[metric].title} is {exact.estimate:.4f} [{exact.low:.4f}, {exact.high:.4f}]"
                for metric, printed in stated.items()
                for exact in [of_set[metric]]
                if not all(n.fits(v) for n, v in zip(printed, (exact.estimate, exact.low, exact.high), strict=False))
            ]
            claim = f"{row['set']}: {', '.join(METRICS[metric].title for metric in stated)}"
            found = f"By the predictions, {'; '.join(wrong)}." if wrong else "The run's predictions give the same."
            yield Finding(claim, REFUTED if wrong else HOLDS, found)


def _metadata(card: Card) -> Iterator[Finding]:
    """Verdicts on the evaluation results in the metadata, by the text."""
    stated: dict[tuple[str | None, str], list[Number]] = {}
    for row in reversed(card.tables):
        of_set = row.get("set", "").lower()
        stated |= {(of_set, metric): numbers(row[title]) for title, metric in TITLES.items() if row.get(title)}
    for label, (_, value) in reversed(card.labelled.items()):
        stated |= {(None, metric): numbers(value) for title, metric in TITLES.items() if title in label}
    compared: dict[str, dict[str, bool]] = {}
    for result in card.data.get("eval_results") or []:
        name, metric, value = one_line(str(result.dataset_name)), str(result.metric_type), result.metric_value
        printed = stated.get((name.lower(), metric)) or stated.get((None, metric))
        if printed and isinstance(value, int | float):
            args = result.metric_args if isinstance(result.metric_args, dict) else {}
            pairs = zip(printed, [value, *args.get("interval_95", [])], strict=False)
            right = [n.near(v) or n.near(100 * v) for n, v in pairs if isinstance(v, int | float)]
            compared.setdefault(name, {})[METRICS[metric].title] = all(right)
    for name, agrees in compared.items():
        wrong = [metric for metric, right in agrees.items() if not right]
        found = f"The text gives another {', '.join(wrong)}." if wrong else "The text says the same."
        yield Finding(f"Metadata, {name}: {', '.join(agrees)}", REFUTED if wrong else HOLDS, found)


# ---------------------------------------------------------------- what a complete card has


def _lacking(card: Card) -> Iterator[Finding]:
    """What a card should say and does not: sections, and metadata that a hub reads."""
    headings = "\n".join(card.headings).lower()
    fields = [*METADATA, *([] if card.data.get("eval_results") else ["model-index"])]
    lacking = {
        "Sections": [name for name, words in SECTIONS.items() if not re.search(words, headings)],
        "Metadata": [name for name in fields if not card.data.get(name)],
    }
    for what, names in lacking.items():
        found = f"The card lacks {', '.join(names)}." if names else "None that a reader expects is missing."
        yield Finding(what, MISSING if names else HOLDS, found)


# ---------------------------------------------------------------- as a person reads it


def print_findings(findings: list[Finding]) -> None:
    """Print every claim with its verdict and what was found, then how many there are of each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {HOLDS: "green", REFUTED: "bold red", UNCHECKED: "yellow", MISSING: "yellow"}
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        table.add_row(Text(finding.verdict, styles[finding.verdict]), Text(one_line(finding.claim), "bold"))
        table.add_row("", Text(one_line(finding.found)))
    console = Console(highlight=False)
    console.print(table)
    console.print(Text(f"\n{tally(findings)}"))


def tally(findings: list[Finding]) -> str:
    """How many claims there are of each verdict, as a sentence."""
    of = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in VERDICTS}
    return (
        f"{len(findings)} claims: {of[HOLDS]} hold, {of[REFUTED]} refuted, {of[UNCHECKED]} cannot be checked, "
        f"{of[MISSING]} missing."
    )
