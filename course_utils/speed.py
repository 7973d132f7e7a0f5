"""The same computation with less work; whoever reads for the methods can skip this room.

`-p speedups=false` runs the libraries' own code instead. What is exact and what is equal in distribution is
said at each trick and tested in tests/test_speed.py.
"""

from __future__ import annotations

from types import MethodType

import numpy as np
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.distilbert.modeling_distilbert import TransformerBlock


def speed_up(model: nn.Module) -> nn.Module:
    """Put every trick that fits `model` into it, in place; its parameters and their names stay."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = FastDropout
    if blocks := [module for module in model.modules() if isinstance(module, TransformerBlock)]:
        blocks[-1].forward = MethodType(first_token_forward, blocks[-1])
    return model


def first_token_forward(block: TransformerBlock, hidden_states, attention_mask=None, **kwargs):
    """The last block of a DistilBERT for the first token alone: (batch, tokens, dim) → (batch, 1, dim).

    DistilBertForSequenceClassification reads no other. Keys and values still come from every token, so the
    result is exact; queries, attention output and feed-forward layer are computed for one token only.
    """
    attention, first = block.attention, hidden_states[:, :1]

    def heads(projected: torch.Tensor) -> torch.Tensor:
        return projected.unflatten(-1, (attention.n_heads, -1)).transpose(1, 2)

    context = scaled_dot_product_attention(
        heads(attention.q_lin(first)),
        heads(attention.k_lin(hidden_states)),
        heads(attention.v_lin(hidden_states)),
        attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
        dropout_p=attention.dropout.p if attention.training else 0.0,
    )
    attended = block.sa_layer_norm(attention.out_lin(context.transpose(1, 2).flatten(2)) + first)
    return block.output_layer_norm(block.ffn(attended) + attended)


class FastDropout(nn.Dropout):
    """Dropout whose mask, on a CPU, comes from NumPy's SFC64 instead of torch's slow `bernoulli_`.

    Equal in distribution: rate (to 1/65,536), scale and independence are those of nn.Dropout. Each mask is
    seeded by one draw from torch's generator, so that a checkpoint of that generator restores it.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        threshold = round(self.p * 65_536)
        generator = np.random.Generator(np.random.SFC64(int(torch.randint(2**62, ()))))
        keep = np.frombuffer(generator.bytes(2 * x.numel()), dtype=np.uint16) >= threshold
        mask = torch.from_numpy(keep).view(x.shape).to(x.dtype).mul_(65_536 / (65_536 - threshold))
        return x * mask
