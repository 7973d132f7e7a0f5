"""Steps of encoders and decoders that nobody has to download: random weights of any shape, on a CPU or a GPU."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    DistilBertConfig,
    LlamaConfig,
    PreTrainedConfig,
)

from course_utils.config import load_experiment
from course_utils.inputs.bases import Base
from course_utils.methods import METHODS
from course_utils.training.trainer import adapted_model

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TARGETS = {"distilbert": "q_lin,v_lin", "llama": "q_proj,v_proj"}


def of_width(width: int) -> DistilBertConfig:
    """The embedded encoder's shape at another `width`, heads of 32."""
    return DistilBertConfig(dim=width, n_layers=6, n_heads=width // 32, hidden_dim=4 * width)


def llama(width: int, hidden: int, layers: int, heads: int, shared: int, vocabulary: int) -> LlamaConfig:
    """The shape of a decoder whose `shared` heads of keys and values serve `heads` queries."""
    return LlamaConfig(
        hidden_size=width, intermediate_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=shared, vocab_size=vocabulary, pad_token_id=0,
    )  # fmt: skip


SIZES = {  # model → its shape, the smallest first
    "all-MiniLM-L6": of_width(384),
    "distilbert-base": DistilBertConfig(),  # 768 wide, 6 layers
    "SmolLM2-135M": llama(576, 1536, 30, 9, 3, 49_152),
    "Llama 3.2 1B": llama(2048, 8192, 16, 32, 8, 128_256),
    "Llama 3.2 3B": llama(3072, 8192, 28, 24, 8, 128_256),
    "Llama 3.1 8B": llama(4096, 14_336, 32, 32, 8, 128_256),
}


@contextmanager
def written(shape: PreTrainedConfig, tokenizer: bool = False) -> Iterator[str]:
    """The folder of a checkpoint of `shape` with random weights, and perhaps the embedded base's `tokenizer`."""
    with tempfile.TemporaryDirectory() as folder:
        if tokenizer:
            Base("embedded").tokenizer().save_pretrained(folder)
        config = AutoConfig.for_model(**{**shape.to_dict(), "num_labels": 2})
        with torch.device(DEVICE):
            model = AutoModelForSequenceClassification.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(folder)
        del model
        yield folder


def step_of(method: str, folder: str, tokens: int, steps: int = 5, **overrides) -> dict:
    """The step of `method` on the base in `folder`, for 16 texts of `tokens` random tokens.

    ms, its median; parameters, those of the base; and on a GPU peak_mb, the most memory that the steps take there.
    """
    free_gpu()
    base_type = AutoConfig.from_pretrained(folder).model_type
    adapts = "target_modules" in METHODS[method].Settings.model_fields
    overrides = {"target_modules": TARGETS[base_type], **overrides} if adapts else overrides
    config = load_experiment("quick", {"base_model": folder, "methods": [method], **overrides}).config(method)
    base = METHODS[method].load_base(config.base, config.load_task(), config.precision, config.settings)
    model = adapted_model(config, base).to(DEVICE).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    inputs = torch.randint(5, 1000, (16, tokens), device=DEVICE)
    labels = torch.randint(2, (16,), device=DEVICE)
    times = []
    free_gpu()
    for _ in range(steps + 1):  # the first warms up
        start = time.perf_counter()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=config.precision == "bf16"):
            loss = model(input_ids=inputs, attention_mask=torch.ones_like(inputs), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    peak = torch.cuda.max_memory_allocated() / 1e6 if DEVICE == "cuda" else None
    return {"ms": statistics.median(times[1:]), "peak_mb": peak, "parameters": config.base.shape.parameters}


def free_gpu() -> None:
    """Give back what a GPU keeps of models that are gone, and count its highest memory anew."""
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
