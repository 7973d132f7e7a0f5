"""How many parameters an adapted classifier has: counted from configurations, without weights and without the hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any

from course_utils.inputs.embedded import MODEL
from course_utils.paths import find_folder

# Encoders of the hub: transformers' configuration class, and where its sizes differ from the class's defaults.
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
KNOWN = {
    "distilbert-base-uncased": ("DistilBertConfig", {}),
    "distilbert-base-cased": ("DistilBertConfig", {"vocab_size": 28996}),
    "distilbert-base-multilingual-cased": ("DistilBertConfig", {"vocab_size": 119547}),
    "bert-base-uncased": ("BertConfig", {}),
    "bert-base-cased": ("BertConfig", {"vocab_size": 28996}),
    "bert-large-uncased": ("BertConfig", LARGE),
    "roberta-base": ("RobertaConfig", ROBERTA),
    "roberta-large": ("RobertaConfig", ROBERTA | LARGE),
    "distilroberta-base": ("RobertaConfig", ROBERTA | {"num_hidden_layers": 6}),
    "xlm-roberta-base": ("XLMRobertaConfig", ROBERTA | {"vocab_size": 250002}),
    "electra-small-discriminator": ("ElectraConfig", {}),
    "electra-base-discriminator": ("ElectraConfig", BASE | {"embedding_size": 768}),
    "all-MiniLM-L6-v2": ("BertConfig", {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536}),
    MODEL: ("DistilBertConfig", {"n_layers": 6, "dim": 384, "hidden_dim": 1536}),  # the same, as the project writes it
}
LARGEST_RANK = 256


@dataclass(frozen=True)
class Counts:
    """Parameters of an adapted classifier: of the plain one, of the adapter, and of that part of the head it trains."""

    said: str  # which classifier, and how it is adapted
    base: int
    adapter: int
    head: int

    @property
    def trainable(self) -> int:
        """Trained parameters."""
        return self.adapter + self.head

    @property
    def total(self) -> int:
        """All parameters, the head counted once."""
        return self.base + self.adapter

    @property
    def total_as_peft_counts(self) -> int:
        """All parameters, of the head both the frozen original and the trained copy."""
        return self.base + self.adapter + self.head

    @property
    def totals(self) -> list[int]:
        """Every number that people call the total; the last is that of the base model alone."""
        return [self.total_as_peft_counts, self.total, self.base]

    def __str__(self) -> str:
        counted = f"{self.trainable:,} trainable of {self.total_as_peft_counts:,} parameters"
        return f"{self.said} has {counted} as PEFT counts, {self.total:,} with the head counted once"


@dataclass(frozen=True)
class Encoder:
    """A classifier: its parameters in all and by module of its head, and in + out of the encoder's linear layers."""

    name: str
    total: int
    head: dict[str, int]
    linear: dict[str, int]
    of_a_class: int  # parameters that one class more costs
    encoder_bytes: int  # without the head, in 32 bits, buffers included
    usual_targets: list[str] | None  # what is adapted of this architecture unless settings say otherwise

    def with_classes(self, classes: int) -> Encoder:
        """The same with a head of `classes` classes instead of two."""
        more, last = (classes - 2) * self.of_a_class, list(self.head)[-1]
        return replace(self, total=self.total + more, head=self.head | {last: self.head[last] + more})

    def heads(self) -> list[list[str]]:
        """What may be trained of the head: all of it, its last module (PEFT's default), nothing."""
        names = list(self.head)
        return [names, names[-1:], []] if len(names) > 1 else [names, []]

    @property
    def layers(self) -> list[str]:
        """Names of the linear layers without their place, in the model's order: query, key, value…"""
        return list(dict.fromkeys(map(leaf, self.linear)))

    def target_sets(self) -> Iterator[list[str]]:
        """Lists of layers that people adapt: query and value first, then query, key and value, then any."""
        names = self.layers
        yield from [self.usual_targets] if self.usual_targets else []
        yield names[:3]
        for size in range(1, len(names) + 1):
            yield from map(list, combinations(names, size))

    def adapted(
        self, targets: list[str] | str, rank: int, head: list[str], pattern: dict[str, int] | None = None
    ) -> Counts | None:
        """Counts with factors of `rank` on the layers that `targets` name as PEFT reads it; None if it has none.

        `head` names the modules of the head that are trained, `pattern` the layers of another rank (layer → rank).
        """
        layers = [name for name in self.linear if _targeted(name, targets)]
        if not layers or (isinstance(targets, list) and len(layers) < len(targets)):
            return None
        ranks = [next((r for key, r in (pattern or {}).items() if _named(name, key)), rank) for name in layers]
        named = ", ".join(dict.fromkeys(map(leaf, layers)))
        trained = "its head" if head and len(head) == len(self.head) else " and ".join(head) or "no head"
        return Counts(
            said=f"{self.name} with rank {rank} on {named} and {trained} trained",
            base=self.total,
            adapter=sum(r * self.linear[name] for r, name in zip(ranks, layers, strict=True)),
            head=sum(self.head[name] for name in head),
        )


def leaf(name: str) -> str:
    """The name of a layer without its place: "encoder.layer.0.attention.query" → "query"."""
    return name.rpartition(".")[2]


def _targeted(name: str, targets: list[str] | str) -> bool:
    if isinstance(targets, list):
        return any(_named(name, target) for target in targets)
    try:
        return targets == "all-linear" or re.fullmatch(targets, name) is not None
    except re.error:
        return False


def _named(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


@cache
def known_encoder(name: str) -> Encoder:
    """The encoder `name` of `KNOWN` with a head of two classes."""
    import transformers

    kind, sizes = KNOWN[name]
    return _encoder(name, getattr(transformers, kind)(num_labels=2, **sizes))


def _encoder(name: str, config: Any) -> Encoder:
    import torch
    from transformers import AutoModelForSequenceClassification

    from course_utils.inputs.bases import head_modules, usual_targets

    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    head = {module: sum(p.numel() for p in model.get_submodule(module).parameters()) for module in head_modules(model)}
    linear = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    of_head = [layer for name, layer in linear.items() if name.split(".")[0] in head]
    tensors = [*model.base_model.parameters(), *model.base_model.buffers()]
    return Encoder(
        name=name,
        total=sum(p.numel() for p in model.parameters()),
        head=head,
        linear={n: m.in_features + m.out_features for n, m in linear.items() if n.split(".")[0] not in head},
        of_a_class=of_head[-1].in_features + 1,
        encoder_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        usual_targets=usual_targets(config.model_type),
    )


@cache
def encoders(name: str) -> list[Encoder]:
    """The encoders that `name` may mean: known ones, whoever's copy it is, or that of a folder; none if unknown."""
    if not re.fullmatch(r"[\w./-]{1,200}", name):
        return []
    last = name.rstrip("/").rpartition("/")[2].lower()
    if last == "all-minilm-l6-v2":
        return [known_encoder("all-MiniLM-L6-v2"), known_encoder(MODEL)]
    if known := [key for key in KNOWN if key.lower() == last]:
        return [known_encoder(key) for key in known]
    folder = find_folder(name)
    if folder is None or not (folder / "config.json").is_file():
        return []
    from transformers import AutoConfig

    try:
        return [_encoder(name, AutoConfig.from_pretrained(folder, num_labels=2, trust_remote_code=False))]
    except Exception:  # a folder may hold anything; then its counts are not known
        return []


def search(
    among: list[Encoder],
    fits: Callable[[Counts], bool],
    trainable: float,
    targets: list[str] | str | None = None,
    rank: int | None = None,
) -> Counts | None:
    """The first counts of `among` with `trainable` trained parameters that fit; of `targets` and `rank` if given."""
    for encoder in among:
        for names in [targets] if targets else encoder.target_sets():
            if (at_rank_one := encoder.adapted(names, 1, [])) is None:
                continue
            for head in encoder.heads():
                adapter = trainable - sum(encoder.head[module] for module in head)
                found = round(adapter / at_rank_one.adapter)
                if 1 <= found <= LARGEST_RANK and rank in (None, found):
                    counts = encoder.adapted(names, found, head)
                    if counts and fits(counts):
                        return counts
    return None
