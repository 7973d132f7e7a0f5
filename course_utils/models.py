"""The base encoder with its classification head, plain or in NF4, and what it weighs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from course_utils.assets import locate_base_model
from course_utils.errors import CourseError
from course_utils.paths import relative_to_project

# A hundred tensors load faster than their progress bar is drawn, and the notice is about a library's code.
transformers.utils.logging.disable_progress_bar()
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
# Nobody is asked to convert a repository that holds only pickles; it is refused.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

# A model is data: its own code is never run. Left unsaid, transformers would ask whoever sits at the terminal.
NO_CODE = {"trust_remote_code": False}

LABELS = {0: "negative", 1: "positive"}

# PEFT has no default for DistilBERT; its defaults for the others are the same layers, query and value.
TARGET_MODULES = {
    "distilbert": ["q_lin", "v_lin"],
    "bert": ["query", "value"],
    "roberta": ["query", "value"],
    "xlm-roberta": ["query", "value"],
    "electra": ["query", "value"],
    "deberta-v2": ["query_proj", "value_proj"],
}


def load_classifier(base_model: str, *, four_bit: bool = False, precision: str = "fp32") -> nn.Module:
    """`base_model` with a two-class head, its linear layers in NF4 with double quantisation if `four_bit`.

    precision: "bf16" or "fp32", what 4-bit weights are dequantised to. Everything else is 32-bit.
    """
    location, revision = locate_base_model(base_model)
    if four_bit:
        _check_four_bit_kernels()
    options = {"revision": revision, "num_labels": 2, "id2label": LABELS, "dtype": torch.float32}
    options["label2id"] = {label: index for index, label in LABELS.items()}
    if four_bit:
        options["quantization_config"] = _nf4(head_modules(classifier_without_weights(base_model)), precision)
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # "newly initialised": the head, which is meant to be
    try:
        with _named(base_model):
            model, loaded = AutoModelForSequenceClassification.from_pretrained(
                location, output_loading_info=True, use_safetensors=True, **NO_CODE, **options
            )
    finally:
        transformers.logging.set_verbosity(verbosity)
    heads = head_modules(model)
    # Left at random, and in silence; BERT's pooler may be, since masked-language models come without.
    missing = [name for name in loaded["missing_keys"] if not in_head(name, heads) and ".pooler." not in name]
    if missing:
        raise CourseError(
            f"base_model={base_model}: its weights are not those of the encoder that its config.json describes, for"
            f" {len(missing)} tensors are missing, {min(missing)} among them; type an encoder, or base_model=embedded"
        )
    if four_bit:
        for layer in four_bit_layers(model):
            # The repacked CPU kernel makes a layer lose its gradients after an evaluation.
            layer.support_avx512bf16_for_cpu = False
    return model.eval()


def classifier_without_weights(base_model: str) -> nn.Module:
    """The classifier of `base_model`'s architecture on the meta device."""
    location, revision = locate_base_model(base_model)
    with _named(base_model), torch.device("meta"):
        config = AutoConfig.from_pretrained(location, revision=revision, **NO_CODE)
        return AutoModelForSequenceClassification.from_config(config, **NO_CODE)


@contextmanager
def _named(base_model: str) -> Iterator[None]:
    """Turn what is wrong with `base_model` into a CourseError that names it."""
    try:
        yield
    except Exception as error:  # transformers, tokenizers, safetensors and the hub's client raise all kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".:")
        raise CourseError(
            f"base_model={base_model} could not be loaded ({reason}); check its name and the network, or the folder's"
            " files, or type -p base_model=embedded"
        ) from error


def _check_four_bit_kernels() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        from bitsandbytes.functional import quantize_4bit

        quantize_4bit(torch.zeros(64, device=device), quant_type="nf4")
    except Exception as error:  # of the import, of a library that was not found, of a kernel
        raise CourseError(
            f"bitsandbytes has no 4-bit kernels that work here on the device {device!r} ({type(error).__name__}), and"
            " QLoRA needs them; python -m bitsandbytes says what it lacks. The other methods do without."
        ) from error


def _nf4(heads: list[str], precision: str):
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
        llm_int8_skip_modules=heads,  # or the head would be quantised, and could not be trained
    )


def portable_name(model: nn.Module) -> str:
    """Name of `model`'s base: a hub id, or a folder as written from the project's root."""
    name = model.name_or_path
    return relative_to_project(name) if Path(name).is_dir() else name


def load_tokenizer(base_model: str):
    """Tokenizer of `base_model`."""
    location, revision = locate_base_model(base_model)
    with _named(base_model):
        return AutoTokenizer.from_pretrained(location, revision=revision, **NO_CODE)


def initialise_head(model: nn.Module, seed: int) -> None:
    """Draw the head's weights from N(0, initializer_range²) by `seed` alone, so that all methods start alike."""
    generator = torch.Generator().manual_seed(seed)
    for name in head_modules(model):
        for layer in model.get_submodule(name).modules():
            if isinstance(layer, nn.Linear):
                weight = torch.empty(layer.weight.shape)
                weight.normal_(0.0, model.config.initializer_range, generator=generator)
                layer.weight.data.copy_(weight)
                if layer.bias is not None:
                    layer.bias.data.zero_()


def head_modules(model: nn.Module) -> list[str]:
    """Names of the modules beside the encoder: the classification head."""
    return [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    ]


def target_modules(model: nn.Module) -> list[str]:
    """Names of the query and value projections of `model`'s architecture."""
    try:
        return TARGET_MODULES[model.config.model_type]
    except KeyError:
        linear = sorted({n.split(".")[-1] for n, m in model.base_model.named_modules() if isinstance(m, nn.Linear)})
        raise CourseError(
            f"Which layers of a {model.config.model_type!r} model to adapt is not known; "
            f"type -p target_modules=NAME,NAME with some of: {', '.join(linear)}."
        ) from None


def first_target(model: nn.Module, names: tuple[str, ...] = ()) -> tuple[str, nn.Linear]:
    """Name and layer of the first of `model`'s linear layers called one of `names`; none: query and value."""
    endings = tuple(f".{name}" for name in names or target_modules(model))
    return next((name, module) for name, module in model.named_modules() if name.endswith(endings))


def check_targets(model: nn.Module, names: tuple[str, ...], rank: int) -> None:
    """Raise CourseError unless every one of `names` is a linear layer of `model` wide enough for `rank`."""
    linear = [(n, m) for n, m in model.base_model.named_modules() if isinstance(m, nn.Linear)]
    known = sorted({name.split(".")[-1] for name, _ in linear})
    for wanted in names or target_modules(model):
        matching = [m for n, m in linear if n == wanted or n.endswith("." + wanted)]
        if not matching:
            raise CourseError(f"target_modules: the model has no layer {wanted!r}; it has {', '.join(known)}.")
        width = min(min(m.in_features, m.out_features) for m in matching)
        if rank > width:
            raise CourseError(
                f"rank: {rank} is more than the width {width} of layer {wanted!r}; type -p rank={width} or less."
            )


def check_length(model: nn.Module, max_length: int) -> None:
    """Raise CourseError if `model` has not `max_length` positions."""
    positions = getattr(model.config, "max_position_embeddings", max_length)
    if max_length > positions:
        raise CourseError(
            f"max_length: {max_length} is more than the {positions} tokens that the model reads; "
            f"type -p max_length={positions} or less."
        )


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a model; `adapter` are the trained ones outside the head, the head is counted once.

    `total_as_peft_counts` is what PEFT's print_trainable_parameters calls "all params": it holds the head
    twice, the frozen original and the trained copy.
    """

    adapter: int
    head: int
    trainable: int
    total: int
    total_as_peft_counts: int


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count the parameters of `model`, adapted or not, on any device, the meta device included."""
    trainable = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    everything = sum(_numel(p) for p in model.parameters())
    twin = sum(p.numel() for name, p in model.named_parameters() if ".original_module." in name)
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    heads = head_modules(inner)
    head = sum(n for name, n in trainable.items() if in_head(name, heads))
    encoder = sum(n for name, n in trainable.items() if not in_head(name, heads))
    return ParameterCount(
        adapter=encoder,
        head=head,
        trainable=head + encoder,
        total=everything - twin,
        total_as_peft_counts=everything,
    )


def in_head(name: str, heads: list[str]) -> bool:
    """Whether the parameter `name` of a plain or adapted model belongs to one of `heads`."""
    return name.removeprefix("base_model.model.").split(".")[0] in heads


def _numel(parameter: nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    return state.shape.numel() if state is not None else parameter.numel()


def weight_bytes(model: nn.Module) -> int:
    """Bytes that `model`'s parameters and buffers take in memory, quantisation constants included."""
    tensors = {t.data_ptr(): t for t in [*model.parameters(), *model.buffers()]}
    for layer in four_bit_layers(model):
        state = layer.weight.quant_state
        constants = [state.absmax, state.code, state.offset]
        if state.nested:
            constants += [state.state2.absmax, state.state2.code]
        tensors |= {t.data_ptr(): t for t in constants if t is not None}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def four_bit_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The bitsandbytes 4-bit linear layers of `model`."""
    return (m for m in model.modules() if type(m).__name__ == "Linear4bit")


def plain_weight(layer: nn.Module) -> torch.Tensor:
    """Weight (out, in) of a linear layer in 32 bits, dequantised if it is kept in 4."""
    weight = layer.weight
    if (state := getattr(weight, "quant_state", None)) is not None:
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, state).float()
    return weight.detach().float()


def dequantise(model: nn.Module) -> nn.Module:
    """`model` with every 4-bit layer replaced, in place, by a plain linear layer of its dequantised weights."""
    for name, layer in list(model.named_modules()):
        if type(layer).__name__ == "Linear4bit":
            plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
            plain.weight.data = plain_weight(layer)
            if layer.bias is not None:
                plain.bias.data = layer.bias.detach().float()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, plain.to(layer.weight.device))
    model.is_quantized = model.is_loaded_in_4bit = False
    model.hf_quantizer = None
    return model


def quantisation_error(four_bit: nn.Module, plain: nn.Module) -> dict[str, float]:
    """Layer name → ‖dequant(NF4(W₀)) − W₀‖ / ‖W₀‖ (Frobenius) of every 4-bit layer of `four_bit`."""
    original = dict(plain.named_modules())
    return {
        name: ((plain_weight(layer).cpu() - original[name].weight).norm() / original[name].weight.norm()).item()
        for name, layer in four_bit.named_modules()
        if type(layer).__name__ == "Linear4bit"
    }
