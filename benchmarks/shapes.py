"""Steps of encoders and decoders that nobody has to download: random weights of any shape, on a CPU or a GPU."""

from __future__ import annotations

import statistics
import tempfile
import time

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

EMBEDDED = DistilBertConfig(dim=384, n_layers=6, n_heads=12, hidden_dim=1536)
PUBLISHED = DistilBertConfig()  # distilbert-base: 768 wide, 6 layers
DECODER = LlamaConfig(  # the shape of a decoder of 1.2 billion parameters
    hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8,
    vocab_size=128_256, pad_token_id=0,
)  # fmt: skip
TARGETS = {"distilbert": "q_lin,v_lin", "llama": "q_proj,v_proj"}


def of_width(width: int) -> DistilBertConfig:
    """The embedded encoder's shape at another `width`, heads of 32."""
    return DistilBertConfig(dim=width, n_layers=6, n_heads=width // 32, hidden_dim=4 * width)


def step_of(method: str, shape: PreTrainedConfig, tokens: int, batch: int = 16, steps: int = 5, **overrides) -> dict:
    """Median step in ms, and on a GPU the peak of its memory in MB, for `batch` × `tokens` random tokens."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    adapts = "target_modules" in METHODS[method].Settings.model_fields
    overrides = {"target_modules": TARGETS[shape.model_type], **overrides} if adapts else overrides
    with tempfile.TemporaryDirectory() as folder:
        write_random(shape, folder)
        config = load_experiment("quick", {"base_model": folder, "methods": [method], **overrides}).config(method)
        base = METHODS[method].load_base(config.base, config.load_task(), config.precision, config.settings)
        model = adapted_model(config, base).to(device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    inputs = torch.randint(5, 1000, (batch, tokens), device=device)
    labels = torch.randint(2, (batch,), device=device)
    times = []
    for _ in range(steps + 1):  # the first warms up
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
            loss = model(input_ids=inputs, attention_mask=torch.ones_like(inputs), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    peak = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None
    return {"ms": statistics.median(times[1:]), "peak_mb": peak}


def write_random(shape: PreTrainedConfig, folder: str, tokenizer: bool = False) -> None:
    """A checkpoint of `shape` with random weights in `folder`, and perhaps the embedded base's `tokenizer`."""
    if tokenizer:
        Base("embedded").tokenizer().save_pretrained(folder)
    shape = AutoConfig.for_model(**{**shape.to_dict(), "num_labels": 2})
    AutoModelForSequenceClassification.from_config(shape).save_pretrained(folder)
