"""A base model as one object, which locates and loads it with a task's head, plain or in NF4, and describes it."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from course_utils.errors import CourseError, explained
from course_utils.inputs.embedded import ENCODER, MODEL
from course_utils.inputs.embedded_decoder import BUNDLE as DECODER
from course_utils.inputs.embedded_decoder import FOLDER
from course_utils.inputs.facts import Facts, commit_on_hub
from course_utils.paths import PROJECT, find_folder, is_lfs_pointer, sha256_of
from course_utils.text import code_span, hash_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from course_utils.tasks.base import Task

# A repository that holds only pickles is refused; nobody is asked to convert it.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")  # about a library's code

# A model is data: its own code is never run. Without this option, transformers would ask at the terminal.
NO_CODE = {"trust_remote_code": False}

HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
PINNED_REVISIONS = {"distilbert-base-uncased": "12040accade4e8a0f71eabdb258fecc2e7e948be"}
FACTS = {
    "embedded": Facts(
        "all-MiniLM-L6-v2",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        license="apache-2.0",
        citations=("wang2020minilm",),
        limits=(
            "The base model was trained contrastively, to give similar sentences similar embeddings. It is "
            "not a masked language model, and results with it need not hold for such models.",
        ),
    ),
    "embedded-decoder": Facts(
        "SmolLM2-135M-Instruct",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="apache-2.0",
        citations=("allal2025smollm2",),
        limits=(
            "The linear weights of the base model were published in 4 bits and are dequantised; in NF4 they are"
            " rounded a second time.",
        ),
    ),
    "distilbert-base-uncased": Facts(
        "distilbert-base-uncased",
        hub_id="distilbert-base-uncased",
        license="apache-2.0",
        citations=("sanh2019distilbert",),
    ),
}
BUNDLES = {"embedded": (ENCODER, MODEL), "embedded-decoder": (DECODER, FOLDER)}  # name → bundle, its folder there
QUERY_VALUE, ALL_LINEAR = "query-value", "all-linear"  # layers that settings name by a word
OWN_TARGETS = {  # query and value, or what holds them, where PEFT's own table says nothing
    "distilbert": ["q_lin", "v_lin"],
    "albert": ["query", "value"],
    "camembert": ["query", "value"],
    "mpnet": ["q", "v"],
    "modernbert": ["Wqkv"],
}
READ = (  # what of a folder decides what a run computes
    "config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "vocab*", "merges.txt", "*.model",
    "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip


class Shape(NamedTuple):
    """The size of a base model: numbers in all, width of a token's vector, layers, attention heads of each."""

    parameters: int
    width: int
    layers: int
    heads: int


SHAPES = {"embedded": Shape(22_600_000, 384, 6, 12), "embedded-decoder": Shape(134_500_000, 576, 30, 9)}
USUAL_SHAPE = Shape(67_000_000, 768, 6, 12)  # DistilBERT's
SIZES = (  # what architectures call width, layers and heads
    ("hidden_size", "dim", "n_embd", "d_model"),
    ("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
    ("num_attention_heads", "n_heads", "n_head"),
)


@dataclass(frozen=True)
class Base:
    """A base model by the name that `base_model=` takes: "embedded", a folder, or a hub id; loaded only on demand.

    Raises CourseError, naming what to type instead, where a folder or the hub has no such model.
    """

    name: str

    @property
    def is_embedded(self) -> bool:
        """Whether the base is the encoder or the decoder from the package index."""
        return self.name in BUNDLES

    @property
    def is_local(self) -> bool:
        """Whether the base lies on this machine, so that no hub is asked."""
        return os.path.isdir(self.location)

    @cached_property
    def location(self) -> str:
        """What `from_pretrained` takes: a folder, or the hub id unchanged; asks no hub."""
        if self.is_embedded:
            bundle, inside = BUNDLES[self.name]
            return str(bundle.whole() / inside)
        folder = find_folder(self.name)
        if folder is not None:
            return str(_transformer_in(folder, self.name).resolve())
        if not HUB_ID.fullmatch(self.name):
            raise CourseError(
                f"base_model={self.name}: there is no such folder; type {', '.join(BUNDLES)}, a folder"
                " with config.json and *.safetensors, or a hub id such as distilbert-base-uncased"
            )
        return self.name

    @cached_property
    def revision(self) -> str | None:
        """The commit of a model of the hub."""
        if self.is_local:
            return None
        if pinned := PINNED_REVISIONS.get(self.name):
            return pinned
        remedy = "check its name and the network, or type -p base_model=embedded"
        with explained(f"base_model={self.name} could not be found on the hub", remedy):
            return commit_on_hub(self.name)

    @property
    def facts(self) -> Facts:
        """What a card says of the base model."""
        on_hub = find_folder(self.name) is None and HUB_ID.fullmatch(self.name)
        return FACTS.get(self.name) or (Facts(self.name, hub_id=self.name) if on_hub else Facts(code_span(self.name)))

    def files(self) -> list[Path]:
        """The reader's own files of the model; after a change to one of them, runs must be made again."""
        folder = None if self.is_embedded else find_folder(self.name)
        return sorted(file for kind in ("config.json", "*.safetensors") for file in folder.glob(kind)) if folder else []

    @cached_property
    def shape(self) -> Shape:
        """The model's size, from its files' headers and its configuration; DistilBERT's where these are missing."""
        if self.name in SHAPES:  # known, whether it was fetched or not
            return SHAPES[self.name]
        if not self.is_local:
            return USUAL_SHAPE
        folder = Path(self.location)
        numbers = sum(_numbers_in(file) for file in folder.glob("*.safetensors"))
        with explained(f"base_model={self.name}: config.json cannot be read", "fetch or save the model again"):
            known = json.loads((folder / "config.json").read_text("utf-8"))
            sizes = (next((int(known[name]) for name in names if known.get(name)), None) for names in SIZES)
            width, layers, heads = (size or usual for size, usual in zip(sizes, USUAL_SHAPE[1:], strict=True))
        return Shape(numbers or USUAL_SHAPE.parameters, width, layers, heads)

    def fingerprint(self) -> str:
        """SHA-256 over configuration, tokenizer and weights in a folder; "hub:ID@COMMIT" for a model of the hub."""
        if self.is_embedded:
            bundle, inside = BUNDLES[self.name]
            bundle.whole(read=inside)
        if not self.is_local:
            return f"hub:{self.location}@{self.revision}"
        lines = []
        for path in sorted({path for pattern in READ for path in Path(self.location).glob(pattern)}):
            with explained(f"base_model={self.name}: {path} cannot be read", "make it a file that you may read"):
                lines.append(f"{path.name} {sha256_of(path)}")
        return hash_of("\n".join(lines))

    def config(self) -> PretrainedConfig:
        """The model's configuration in transformers."""
        from transformers import AutoConfig

        with self._loading():
            return AutoConfig.from_pretrained(self.location, revision=self.revision, **NO_CODE)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer, which pads on the right; without a padding token, another special token is used."""
        from transformers import AutoTokenizer

        with self._loading():
            tokenizer = AutoTokenizer.from_pretrained(self.location, revision=self.revision, **NO_CODE)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
        tokenizer.padding_side = "right"
        return tokenizer

    def without_weights(self, task: Task) -> nn.Module:
        """The model's architecture with the head of `task`, on the meta device."""
        import torch

        config = self.config()
        for name, value in self._options(task).items():
            setattr(config, name, value)
        with self._loading(), torch.device("meta"):
            return task.auto_model().from_config(config, **NO_CODE)

    def load(self, task: Task, *, four_bit: bool = False, precision: str = "fp32") -> nn.Module:
        """The model with the head of `task`, its linear layers in NF4 with double quantisation if `four_bit`.

        precision: "bf16" or "fp32", what 4-bit weights are dequantised to. Everything else is 32-bit.
        """
        import torch
        from transformers.utils import logging

        from course_utils.inputs.nf4 import check_four_bit_kernels, four_bit_layers, nf4

        options = {"revision": self.revision, "dtype": torch.float32} | self._options(task)
        if four_bit:
            check_four_bit_kernels()
            # not the head, or it could not be trained, nor an output layer, which shares the embeddings' weights
            options["quantization_config"] = nf4(_beside_encoder(self.without_weights(task)), precision)
        logging.disable_progress_bar()  # a hundred tensors load faster than their progress bar is drawn
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()  # "newly initialised": the head, which is meant to be
        try:
            with self._loading():
                model, loaded = task.auto_model().from_pretrained(
                    self.location,
                    output_loading_info=True,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,  # the head of another task is drawn anew
                    **NO_CODE,
                    **options,
                )
        finally:
            logging.set_verbosity(verbosity)
        heads = _beside_encoder(model)
        # transformers leaves missing weights random, unreported. BERT's pooler may be: masked-language models lack it.
        absent = [*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])]
        missing = [name for name in absent if not in_head(name, heads) and ".pooler." not in name]
        if missing:
            raise CourseError(
                f"base_model={self.name}: the weights do not fit its config.json, for {len(missing)} of its tensors are"
                f" missing or of another size, {min(missing)} among them; type another base model, or"
                " base_model=embedded"
            )
        for _, layer in four_bit_layers(model):
            # The repacked CPU kernel makes a layer lose its gradients after an evaluation.
            layer.support_avx512bf16_for_cpu = False
        return model.eval()

    def _options(self, task: Task) -> dict[str, Any]:
        """What is changed in the configuration: the head of `task`, and a padding token for decoders."""
        padding = self.config().pad_token_id
        if padding is None or padding < 0:
            padding = self.tokenizer().pad_token_id
        return task.head_options() | {"pad_token_id": padding}

    def _loading(self) -> AbstractContextManager[None]:
        """Turn an error in loading the model into a CourseError that names the model."""
        remedy = "check its name and the network, or the folder's files, or type -p base_model=embedded"
        return explained(f"base_model={self.name} could not be loaded", remedy)


def _transformer_in(folder: Path, name: str) -> Path:
    """The folder of the model in `folder`: itself, or the transformer of a sentence-transformers model.

    Raises CourseError where the folder holds no model, or not all of its weights.
    """
    if os.path.isfile(folder / "modules.json"):
        with explained(f"base_model={name}: modules.json cannot be read", "save the model again"):
            first = folder / json.loads((folder / "modules.json").read_text("utf-8"))[0]["path"]
        folder = first if os.path.isfile(first / "config.json") else folder
    weights = [*folder.glob("*.safetensors")]
    if not os.path.isfile(folder / "config.json") or not weights:
        pickles = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.ckpt")]
        remedy = "save a model into it with save_pretrained, or type base_model=embedded"
        if pickles:
            remedy = (
                f"{min(pickles).name} is a pickle, which can run code when it is read; where you trust it, load it with"
                " from_pretrained(…, use_safetensors=False) and save it with save_pretrained"
            )
        raise CourseError(f"base_model={name}: the folder must hold config.json and *.safetensors; {remedy}")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        with explained(f"base_model={name}: {index.name} cannot be read", "fetch or save the model again"):
            shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
            lacking = sorted(shard for shard in shards if not (folder / shard).is_file())
        if lacking:
            raise CourseError(f"base_model={name}: {', '.join(lacking)} is missing; fetch or save the model again")
    for file in weights:
        with explained(f"base_model={name}: {file} cannot be read", "make it a file that you may read", OSError):
            points = is_lfs_pointer(file)
        if points:
            raise CourseError(
                f"base_model={name}: {file.name} only points to the weights; fetch them with git lfs pull, or from the"
                " hub"
            )
    return folder


def _numbers_in(file: Path) -> int:
    """How many numbers the tensors of a safetensors file hold; 0 where it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as tensors:
            return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118  no mapping
    except (OSError, SafetensorError):
        return 0  # what is wrong with it is said where it is loaded


def base_of(model: nn.Module) -> Base:
    """The base that `model` was loaded from."""
    return Base(model.name_or_path)


def name_for_adapters(base: Base) -> str:
    """What an adapter calls `base`: a hub id, a folder of the project from its root, another by its name.

    No path of this machine is recorded, nor one that leads nowhere on another.
    """
    if not base.is_local:
        return base.name
    folder = Path(base.location).resolve()
    return folder.relative_to(PROJECT).as_posix() if folder.is_relative_to(PROJECT) else folder.name


def is_decoder(model_type: str) -> bool:
    """Whether an architecture is for predicting the next token; many encoders can compute causal attention, too."""
    from transformers.models.auto import modeling_auto as known

    masked = known.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return model_type in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and model_type not in masked


# ---------------------------------------------------------------- a loaded model's head and layers


def head_modules(model: nn.Module) -> list[str]:
    """Names of the modules that a task put beside the encoder: the head. A language model has none."""
    return [name for name in _beside_encoder(model) if name != output_layer(model)]


def output_layer(model: nn.Module) -> str | None:
    """Name of the layer that gives a language model's logits, which came with its weights; None where there is none."""
    layer = model.get_output_embeddings()
    return next((name for name, module in model.named_children() if module is layer), None)


def _beside_encoder(model: nn.Module) -> list[str]:
    return [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    ]


def in_head(name: str, heads: list[str]) -> bool:
    """Whether the parameter `name` of a plain or adapted model belongs to one of `heads`."""
    return name.removeprefix("base_model.model.").split(".")[0] in heads


def usual_targets(model_type: str) -> list[str] | None:
    """Names of the layers of an architecture that are adapted unless settings say otherwise: PEFT's own choice."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as OF_PEFT

    return OWN_TARGETS.get(model_type) or OF_PEFT.get(model_type)


def target_modules(model: nn.Module, names: tuple[str, ...] = ()) -> list[str]:
    """Names of the layers of `model` that settings mean by `names`: the name of a layer means that layer.

    "all-linear" stands for the encoder's linear layers, none of the head, by their full names; "query-value", or no
    name at all, for the usual targets of the architecture. CourseError, listing the layers, where those are not known.
    """
    if names == (ALL_LINEAR,):
        return list(linear_layers(model))
    if names not in ((), (QUERY_VALUE,)):
        return list(names)
    if (usual := usual_targets(model.config.model_type)) is None:
        raise CourseError(
            f"Which layers of a {model.config.model_type!r} model to adapt is not known; "
            f"type -p target_modules=NAME,NAME with some of: {_listed(linear_layers(model))}."
        )
    return usual


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Name, as the encoder names it → linear layer, a Conv1D of GPT-2 included."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D  # GPT-2's, which keeps its weight as (in, out)

    return {name: layer for name, layer in model.base_model.named_modules() if isinstance(layer, nn.Linear | Conv1D)}


def _widths(layer: nn.Module) -> tuple[int, int]:
    """Columns and rows of a layer's weight; in 4 bits the weight is stored in another shape."""
    return (layer.in_features, layer.out_features) if hasattr(layer, "in_features") else tuple(layer.weight.shape)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted({name.split(".")[-1] for name in names}))


def first_target(model: nn.Module, names: tuple[str, ...] = ()) -> tuple[str, nn.Linear]:
    """Name and module of the first layer of `model` that settings mean by `names`, as `target_modules` reads them."""
    endings = tuple(f".{name}" for name in target_modules(model, names))
    return next((name, module) for name, module in model.named_modules() if name.endswith(endings))


def check_targets(model: nn.Module, names: tuple[str, ...], rank: int, setting: str = "target_modules") -> None:
    """Raise CourseError unless every one of `names` is a linear layer of `model` wide enough for `rank`."""
    linear = linear_layers(model)
    for wanted in target_modules(model, names):
        matching = [layer for name, layer in linear.items() if f".{name}".endswith(f".{wanted}")]
        if not matching:
            raise CourseError(f"{setting}: the model has no layer {wanted!r}; it has {_listed(linear)}.")
        if rank > (width := min(min(_widths(layer)) for layer in matching)):
            raise CourseError(
                f"rank: {rank} is more than the width {width} of layer {wanted!r}; type -p rank={width} or less."
            )


def check_length(model: nn.Module, max_length: int) -> None:
    """Raise CourseError if `model` has fewer than `max_length` positions."""
    positions = getattr(model.config, "max_position_embeddings", max_length)
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    if (unread := getattr(table, "padding_idx", None)) is not None:  # as RoBERTa's first positions
        positions -= unread + 1
    if max_length > positions:
        raise CourseError(
            f"max_length: {max_length} is more than the {positions} tokens that the model reads; "
            f"type -p max_length={positions} or less."
        )
