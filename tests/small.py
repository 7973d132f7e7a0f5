"""What tests share: the task, the embedded base, a tiny random one, few texts, and methods by what they are."""

from pathlib import Path

import torch
from pandas import DataFrame
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    DistilBertConfig,
    DistilBertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from course_utils.inputs.bases import Base
from course_utils.inputs.splits import normalise
from course_utils.methods import CEILING, FLOOR, METHODS, PLAIN
from course_utils.tasks.classification import Classification

SENTIMENT = Classification(("negative", "positive"))
EMBEDDED = Base("embedded")
# Methods by what they are, so that tests of other rooms know no name.
HEAD, FULL, ADAPTER = FLOOR.name, CEILING.name, PLAIN.name
GATED, MULTIPLIED = (
    next(name for name, method in METHODS.items() if getattr(method.picture, part)) for part in ("gated", "multiplied")
)
QUANTISED = next(name for name, method in METHODS.items() if method.four_bit_base)
ADAPTERS = [name for name, method in METHODS.items() if not method.is_baseline]

FEW = {"max_train": 32, "max_validation": 32, "max_test": 32, "max_other": 16}  # texts of each set, for a short run
BLOCKS, WIDTH = 2, 64  # of the tiny base
WITHOUT_DROPOUT = dict.fromkeys(("dropout", "attention_dropout", "seq_classif_dropout"), 0.0)


def tiny_base(folder: Path, **more: float) -> Base:
    """A random DistilBERT of two blocks, saved in `folder` with the embedded base's tokenizer."""
    return random_base(folder, n_layers=BLOCKS, dim=WIDTH, n_heads=4, hidden_dim=2 * WIDTH, **more)


def random_base(folder: Path, **sizes: float) -> Base:
    """A random DistilBERT of these sizes, saved in `folder` with the embedded base's tokenizer."""
    torch.manual_seed(0)
    DistilBertModel(DistilBertConfig(vocab_size=30_522, **sizes)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes(Path(EMBEDDED.location, name).read_bytes())
    return Base(str(folder))


def keys(frame: DataFrame) -> set[str]:
    """The texts of `frame`, as they are told apart."""
    return set(frame.text.map(normalise))


def flip_a_byte(path: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def two_gpus(folder: Path) -> Path:
    """The `folder` with an nvidia-smi in it that lists two GPUs."""
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\necho GPU 0: H100\necho GPU 1: H100\n")
    program.chmod(0o755)
    return folder


def tiny_decoder(folder: Path) -> Base:
    """A random Llama of two blocks, saved in `folder` with a tokenizer whose tokens are bytes and four merges."""
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("Ġ", "the")]
    words = [*pre_tokenizers.ByteLevel.alphabet(), *("".join(merge) for merge in merges), "<end>"]
    tokenizer = Tokenizer(models.BPE({word: place for place, word in enumerate(sorted(words))}, merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=sorted(words).index("<end>"),
        bos_token_id=None,
        tie_word_embeddings=True,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return Base(str(folder))
