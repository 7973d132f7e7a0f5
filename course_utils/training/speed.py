"""The same computation with less work; a reader who is interested in the methods can skip this module.

`-p speedups=false` runs the libraries' own code instead, products in bf16 on a processor without units for them
excepted (bf16.py). Each trick says whether it is exact or equal in distribution, and tests/training/test_speed.py tests
it; benchmarks/README.md says what each trick saves.
"""

from __future__ import annotations

from functools import partial
from types import MethodType

import numpy as np
import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.distilbert.modeling_distilbert import TransformerBlock
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, apply_rotary_pos_emb

from course_utils.host import has_bf16, has_gpu
from course_utils.methods import Method
from course_utils.methods.sizes import plain_model
from course_utils.training.bf16 import multiply_in_32_bits

SHORT_ATTENTION = "short_attention"
# Families whose attention function can be chosen and takes a mask, without a cap on the scores.
ENCODERS = ("distilbert", "bert", "roberta", "xlm-roberta", "electra", "albert", "modernbert")
DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gpt2", "gpt_neox")
# The tricks, as they are named at the start.
DROPOUT, IN_BF16 = "dropout masks from NumPy", "frozen matrices kept in bf16"
ATTENTION, FIRST_TOKEN = "attention for short texts", "the last block for the first token alone"
LAST_TOKEN = "the last block for the last token alone"


def fitting(model: nn.Module, precision: str = "fp32") -> list[str]:
    """Names of the tricks that can be used for `model`, of any family, in a run's precision on this machine."""
    on_cpu = not torch.cuda.is_available()  # a GPU has fused attention and fast masks, and short texts do not fill it
    fits = {
        ATTENTION: on_cpu and plain_model(model).config.model_type in ENCODERS + DECODERS,
        FIRST_TOKEN: on_cpu and any(isinstance(module, TransformerBlock) for module in model.modules()),
        LAST_TOKEN: on_cpu and isinstance(plain_model(model), GenericForSequenceClassification) and _blocks(model),
        IN_BF16: precision == "bf16",
        DROPOUT: on_cpu,
    }
    return [name for name, fit in fits.items() if fit]


def speed_up(model: nn.Module, method: Method, precision: str = "fp32") -> nn.Module:
    """Apply to `model`, in place, every trick that fits and those of its `method`; parameters and all names stay."""
    tricks = fitting(model, precision)
    if DROPOUT in tricks:
        for module in model.modules():
            if type(module) is nn.Dropout:
                module.__class__ = FastDropout
    method.speed_up(model)
    if IN_BF16 in tricks:
        keep_frozen_matrices_in_bf16(model, method)
    if FIRST_TOKEN in tricks:
        last = [module for module in model.modules() if isinstance(module, TransformerBlock)][-1]
        last.forward = MethodType(first_token_forward, last)
    if LAST_TOKEN in tricks:
        last = _blocks(model)[-1]
        last.forward = MethodType(last_token_forward, last)
        plain_model(model).config.use_cache = False  # a text is read once
        plain_model(model).register_forward_pre_hook(partial(_find_last_tokens, last), with_kwargs=True)
    if ATTENTION in tricks:
        plain_model(model).set_attn_implementation(SHORT_ATTENTION)
    return model


class FastDropout(nn.Dropout):
    """Dropout whose mask comes from NumPy's SFC64 instead of torch's `bernoulli_`, which is slow on a CPU.

    Equal in distribution: rate (to 1/65,536), scale and independence are those of nn.Dropout. Each mask is
    seeded by one draw from torch's generator, so that a checkpoint of that generator restores it.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * dropout_mask(x, self.p) if self.training and self.p else x


def dropout_mask(x: torch.Tensor, rate: float) -> torch.Tensor:
    """Mask for `x`: 0 with probability `rate`, else 1 / (1 − rate)."""
    threshold, count = round(rate * 65_536), x.numel()
    generator = np.random.SFC64(int(torch.randint(2**62, ())))
    keep = generator.random_raw(-(-count // 4)).view(np.uint16)[:count] >= threshold
    # torch converts bytes ten times as fast as booleans
    mask = torch.from_numpy(keep.view(np.uint8)).to(x.dtype).view(x.shape)
    return mask.mul_(65_536 / (65_536 - threshold))


def short_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """softmax(QKᵀ·scaling + mask)·V for sentences: (batch, heads, tokens, width) → (batch, tokens, heads, width).

    Where several queries share a key (grouped-query attention), `key` and `value` have fewer heads. On a CPU
    torch's own attention multiplies in 32 bits wherever dropout is on, and its blocks are made for long texts. This
    function is exact in 32 bits. In bf16 it multiplies in bf16, as on a GPU, and takes the softmax in 32 bits.
    """
    batch, heads, tokens, width = query.shape
    shared = (batch, key.shape[1], -1, width)  # the queries of one key, one after the other
    scores = ((query * scaling).reshape(shared) @ key.transpose(-1, -2)).view(batch, heads, tokens, -1)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    if dropout:
        weights = weights * dropout_mask(weights, dropout)
    context = weights.view(batch, key.shape[1], -1, key.shape[2]) @ value
    return context.view(batch, heads, tokens, width).transpose(1, 2), weights


AttentionInterface.register(SHORT_ATTENTION, short_attention)
AttentionMaskInterface.register(SHORT_ATTENTION, eager_mask)
if not (has_gpu() or has_bf16()):
    multiply_in_32_bits()


def first_token_forward(block: TransformerBlock, hidden_states, attention_mask=None, **kwargs):
    """The last block of a DistilBERT for the first token alone: (batch, tokens, dim) → (batch, 1, dim).

    DistilBertForSequenceClassification reads no other. Keys and values still come from every token, so the
    result is exact; queries, attention output and feed-forward layer are computed for one token only.
    """
    attention, first = block.attention, hidden_states[:, :1]

    def heads(projected: torch.Tensor) -> torch.Tensor:
        return projected.unflatten(-1, (attention.n_heads, -1)).transpose(1, 2)

    context, _ = short_attention(
        attention,
        heads(attention.q_lin(first)),
        heads(attention.k_lin(hidden_states)),
        heads(attention.v_lin(hidden_states)),
        None if attention_mask is None else attention_mask[:, :, :1],
        attention.scaling,
        attention.dropout.p if attention.training else 0.0,
    )
    attended = block.sa_layer_norm(attention.out_lin(context.flatten(2)) + first)
    return block.output_layer_norm(block.ffn(attended) + attended)


def _blocks(model: nn.Module) -> list[LlamaDecoderLayer]:
    return [module for module in model.modules() if type(module) is LlamaDecoderLayer]


def _find_last_tokens(last: nn.Module, model: nn.Module, arguments: tuple, named: dict) -> None:
    """Tell the block each text's last token (batch, 1): the rightmost that is no padding, as in the model's head."""
    ids = named["input_ids"] if "input_ids" in named else arguments[0]
    last.last_tokens = ((ids != model.config.pad_token_id).int() * torch.arange(ids.shape[1])).argmax(-1, keepdim=True)


def last_token_forward(block: LlamaDecoderLayer, hidden_states, attention_mask, position_embeddings, **kwargs):
    """The last block of a Llama for the last token of each text: (batch, tokens, dim) → the same, in every place.

    LlamaForSequenceClassification reads no other. Keys and values still come from every token, so the result is exact;
    queries, attention output and feed-forward layer are computed for one token only.
    """
    attention, (batch, tokens, _) = block.self_attn, hidden_states.shape
    place = (torch.arange(batch)[:, None], block.last_tokens)
    cos, sin = (each.expand(batch, -1, -1) for each in position_embeddings)
    normed, residual = block.input_layernorm(hidden_states), hidden_states[place]

    def heads(projected: torch.Tensor) -> torch.Tensor:
        return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    query, key = heads(attention.q_proj(normed[place])), heads(attention.k_proj(normed))
    query, _ = apply_rotary_pos_emb(query, query, cos[place], sin[place])
    key, _ = apply_rotary_pos_emb(key, key, cos, sin)
    context, _ = short_attention(
        attention,
        query,
        key,
        heads(attention.v_proj(normed)),
        None if attention_mask is None else attention_mask.transpose(1, 2)[place],
        attention.scaling,
        attention.attention_dropout if attention.training else 0.0,
    )
    attended = residual + attention.o_proj(context.flatten(2))
    return (attended + block.mlp(block.post_attention_layernorm(attended))).expand(-1, tokens, -1)


def keep_frozen_matrices_in_bf16(model: nn.Module, method: Method) -> None:
    """Round the frozen weights of linear layers once, not at every step, to what autocast multiplies; exact.

    Where the `method` reads the frozen weight for more than its product, the layers that it adapts stay in 32 bits. So
    does an output layer that shares the weight of the embeddings, which are added up in 32 bits.
    """
    read = [layer.get_base_layer() for layer in model.modules() if hasattr(layer, "get_delta_weight")]
    kept = {id(layer.weight) for layer in read} if method.reads_frozen_weights else set()
    kept |= {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for module in model.modules():
        if type(module) is nn.Linear and not module.weight.requires_grad and id(module.weight) not in kept:
            module.to(torch.bfloat16)
