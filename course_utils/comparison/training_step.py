"""What a training step takes: its arithmetic and memory, counted; its time by part, profiled; its energy, measured."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from math import nan
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode
from transformers import Trainer

from course_utils.comparison.measurements import measurement
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.tables import by_method
from course_utils.config import RunConfig
from course_utils.host import has_gpu
from course_utils.inputs.splits import Data
from course_utils.methods import CEILING, METHODS, PLAIN
from course_utils.methods.sizes import count_parameters
from course_utils.training import speed
from course_utils.training.provenance import processor_name
from course_utils.training.trainer import CourseTrainer, adapted_model, make_trainer

# ---------------------------------------------------------------- arithmetic and memory

TOKENS = 26  # of a text: the median of the embedded sentences
MOMENTS = 2  # that AdamW keeps for a trained number


def model_in_training(config: RunConfig) -> nn.Module:
    """The adapted model of `config` as a training step meets it, on the meta device."""
    base = config.base.without_weights(config.load_task())
    return METHODS[config.method].adapt(base, config.settings).to("meta").train()


def work_of_a_text(config: RunConfig, tokens: int = TOKENS) -> dict[str, float]:
    """What a training step computes and keeps for a text of `tokens` tokens, in a batch of such texts.

    `forward` and `backward` are the floating-point operations of the matrix products, as PyTorch counts them while the
    adapted model computes on the meta device, without our speed-ups; putting four bits back into a matrix is no
    product, and not counted. `activations` are the bytes, in 32 bits, that the forward pass keeps for the backward
    one, weights apart. All are nan for the few architectures whose forward pass reads the value of a tensor: a tensor
    on the meta device has none.
    """
    model = model_in_training(config)
    texts = torch.zeros(config.batch_size, tokens, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        try:
            output, stored = kept_by_forward(model, input_ids=texts, labels=texts[:, 0])
        except RuntimeError:
            return {"forward": nan, "backward": nan, "activations": nan}
        forward = counter.get_total_flops()
        output.loss.backward()
        both = counter.get_total_flops()
    found = {"forward": forward, "backward": both - forward, "activations": stored}
    return {name: value / len(texts) for name, value in found.items()}


def kept_by_forward(model: nn.Module, **inputs: torch.Tensor) -> tuple[Any, int]:
    """The output of `model`, and the bytes that its forward pass keeps for the backward one, weights apart."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(saved: torch.Tensor) -> torch.Tensor:
        kept[saved.untyped_storage()._cdata] = saved.untyped_storage()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        output = model(**inputs)
    weights = {weight.untyped_storage()._cdata for weight in (*model.parameters(), *model.buffers())}
    return output, sum(storage.nbytes() for place, storage in kept.items() if place not in weights)


@measurement
def work_by_method(results: ExperimentRuns) -> dict[str, dict[str, float]]:
    """Method with runs → `work_of_a_text` of its first run."""
    return {run.config.method: work_of_a_text(run.config) for run in results.first_of_each()}


def dropout_of(config: RunConfig) -> float:
    """The dropout of a run's adapter; 0 where its method has none."""
    return getattr(config.settings, "dropout", 0.0)


def activations_without_dropout(results: ExperimentRuns) -> dict[str, float]:
    """Adapter → the activations of `work_of_a_text` without dropout; empty where all adapters have the same dropout."""
    adapters = [run.config for run in results.first_of_each() if not run.method.is_baseline]
    if len({*map(dropout_of, adapters)}) < 2:
        return {}
    found = {name: own["activations"] for name, own in work_by_method(results).items()}
    for config in filter(dropout_of, adapters):
        without = config.settings.model_copy(update={"dropout": 0.0})
        found[config.method] = work_of_a_text(config.model_copy(update={"settings": without}))["activations"]
    return {config.method: found[config.method] for config in adapters}


def step_table(results: ExperimentRuns) -> pd.DataFrame:
    """One row per method with runs: what a step computes and keeps.

    Columns: forward, backward (operations per text), activations (bytes per text), weights, gradients, moments (bytes),
    step (ms). Gradients and moments are of all numbers that the first run trained, in 32 bits, those that its method
    dropped at the end included; the step is the runs' median.
    """
    models = {run.config.method: model_in_training(run.config) for run in results.first_of_each()}
    trained = pd.Series({name: count_parameters(model).trainable for name, model in models.items()})
    table = pd.DataFrame.from_dict(work_by_method(results), orient="index").rename_axis("method")
    return table.assign(
        weights=by_method(results)["bytes_base_model"],
        gradients=4 * trained,
        moments=4 * MOMENTS * trained,
        step=by_method(results)["step_ms_median"],
    ).astype(float)


# ---------------------------------------------------------------- time

PROFILED = 6  # steps of a method
WITH_WEIGHTS, FOUR_BITS, ATTENTION, DROPOUT, POINTWISE, PRECISION, EMBEDDINGS, OPTIMISER, REST = PARTS = (
    "products with weights", "4 bits back into matrices", "attention", "dropout masks", "GELU, normalisation, sums",
    "changes of precision", "embeddings and their gradient", "optimiser, length of the gradient", "Python, all else",
)  # fmt: skip
KINDS = {  # part of the step → parts of operations' names
    WITH_WEIGHTS: ("::mm", "::addmm", "mkldnn_linear", "::linear"),
    FOUR_BITS: ("bitsandbytes::", "dequantize"),
    ATTENTION: ("::bmm", "::baddbmm", "softmax", "attention"),
    DROPOUT: ("native_dropout",),
    POINTWISE: ("gelu", "silu", "layer_norm", "::mul", "::add", "::sum", "::rsqrt", "::pow", "::mean"),
    PRECISION: ("::copy_", "::_to_copy", "::to"),
    EMBEDDINGS: ("embedding", "::index_select", "::fill_", "::zero_"),
}
STEP = "course.step"
MARKS = {"course.dropout": DROPOUT, "Optimizer.step#AdamW.step": OPTIMISER, "course.clip": OPTIMISER}


@partial(measurement, optional=True)  # which older records lack
def time_by_part(results: ExperimentRuns) -> dict[str, Any]:
    """`processor`, and `ms`: method → part → milliseconds of a step, here and now; `joules`: method → energy of a step.

    Of the methods with runs: full fine-tuning, LoRA and those on four bits. The first steps of a method's first run are
    trained three times: to build the kernels, to time the steps, and in a profile, whose shares divide this time. The
    energy is that of the whole processor, where it counts it (`joules_of`). Empty without such a method, and on a GPU,
    which works while Python goes on: `python -m benchmarks gpu` has the times of its kernels.
    """
    if has_gpu():
        return {}
    firsts = (run.config for run in results.first_of_each())
    shown = [config for config in firsts if (own := METHODS[config.method]) in (CEILING, PLAIN) or own.four_bit_base]
    found = {config.method: parts_of_first_steps(config) for config in shown}
    ms = {method: spent for method, (spent, _) in found.items()}
    joules = {method: energy for method, (_, energy) in found.items() if energy is not None}
    return {"processor": processor_name(), "ms": ms, "joules": joules} if ms else {}


def parts_of_first_steps(config: RunConfig) -> tuple[dict[str, float], float | None]:
    """Part → milliseconds of a mean step of the first ones of a run of `config`, on a CPU, and its joules."""
    data = config.load_data()
    torch.set_num_threads(config.threads)

    def train() -> tuple[list[float], float | None]:
        with tempfile.TemporaryDirectory() as folder:
            trainer = short_training(config, data, Path(folder), PROFILED)
            energy = joules_of(trainer.train)
        return [t for entry in trainer.state.log_history for t in entry.get("step_ms", [])], energy

    train()
    steps, energy = train()
    spent = {part: share * statistics.mean(steps) for part, share in shares(train).items()}
    return spent, None if energy is None else energy / len(steps)


def short_training(config: RunConfig, data: Data, folder: Path, steps: int) -> CourseTrainer:
    """The trainer of a run of `config`, for `steps` steps of training alone."""
    base = METHODS[config.method].load_base(config.base, config.load_task(), config.precision, config.settings)
    trainer = make_trainer(config, adapted_model(config, base), config.base.tokenizer(), data, folder)
    trainer.args.max_steps = steps
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    return trainer


def shares(train: Callable[[], Any]) -> dict[str, float]:
    """Part → its share of the steps of `train` on a CPU."""
    spent = time_spent(train, "self_cpu_time_total", ProfilerActivity.CPU)
    whole = sum(spent.values())
    return {part: spent[part] / whole for part in PARTS}


def time_spent(train: Callable[[], Any], measure: str, *activities: ProfilerActivity) -> Counter[str]:
    """Part → microseconds, the sum of this `measure` of its operations in a profile of `train`."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else the profiler prints when it starts and stops
    with ExitStack() as marks:
        for place, function, mark in (
            (speed, "dropout_mask", "course.dropout"),
            (torch.nn.utils, "clip_grad_norm_", "course.clip"),
            (Trainer, "training_step", STEP),
        ):
            marks.enter_context(patch.object(place, function, record_function(mark)(getattr(place, function))))
        profiler = marks.enter_context(profile(activities=activities))
        train()
    spent = Counter(dict.fromkeys(PARTS, 0.0))
    for event in profiler.events() or ():
        if event.device_type == DeviceType.CPU and (part := _part(event)):
            spent[part] += getattr(event, measure)
    return spent


def _part(event: Any) -> str | None:
    """The part of the step that an event of a profile belongs to; None outside of the steps."""
    above, names = event, []
    while above is not None:
        names.append(above.name)
        above = above.cpu_parent
    if marked := next((MARKS[name] for name in names if name in MARKS), None):
        return marked
    if STEP not in names and not names[-1].startswith("autograd::engine"):  # a GPU's backward pass has its own thread
        return None
    return next((part for part, kinds in KINDS.items() if any(kind in event.name for kind in kinds)), REST)


# ---------------------------------------------------------------- energy

# The energy counters of Intel's and AMD's processors (RAPL). Each counts a whole processor, with everything that runs
# on it, and starts again at zero after its range. Many systems let only root read them.
COUNTERS = Path("/sys/class/powercap")


def joules_of(work: Callable[[], object]) -> float | None:
    """The energy in joules that all processors of this machine take during `work`; None without one that counts."""
    before = _microjoules()
    work()
    after = _microjoules()
    if not before or before.keys() != after.keys():
        return None
    ranges = {counter: int((counter / "max_energy_range_uj").read_text()) for counter in before}
    return sum((after[counter] - before[counter]) % ranges[counter] for counter in before) / 1e6 or None


def _microjoules() -> dict[Path, int]:
    """Counter of a processor → what it shows; empty where one of them cannot be read."""
    try:
        zones = [zone for zone in COUNTERS.glob("intel-rapl:*") if (zone / "name").read_text().startswith("package")]
        return {zone: int((zone / "energy_uj").read_text()) for zone in zones}
    except OSError:
        return {}
