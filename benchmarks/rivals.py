"""Other ways to make training fast, each in a process of its own; turn after turn, on the same texts.

python -m benchmarks.rivals RIVAL METHOD OVERRIDES prints what one turn took, as JSON; the section `rivals` of
python -m benchmarks lets all of them take turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from course_utils.host import has_gpu, status_of_process
from course_utils.paths import PROJECT

OURS, COMPILED, WITH_GRAPHS = "ours", "bf16, grouped and compiled", "the same, compiled with CUDA graphs"
GROUPED = {"train_sampling_strategy": "group_by_length"}
BF16 = {"bf16": True, "use_cpu": not has_gpu()}  # Trainer asks to be told that there is no GPU
SCRIPTS: dict[str, dict] = {  # what the plain script is told beside its settings
    "plain script": {},
    "with bf16": BF16,
    "grouped by length": GROUPED,
    "bf16 and grouped": BF16 | GROUPED,
    COMPILED: BF16 | GROUPED | {"torch_compile": True},
    WITH_GRAPHS: BF16 | GROUPED | {"torch_compile": True, "torch_compile_mode": "reduce-overhead"},  # on a GPU
    "bf16, grouped, with oneTBB": BF16 | GROUPED,
    "bf16, grouped, with mimalloc": BF16 | GROUPED,
}
ALLOCATORS = {  # the end of a rival's name → its package in the index, and the library there
    "oneTBB": ("tbb", Path(sys.prefix, "lib", "libtbbmalloc_proxy.so.2")),
    "mimalloc": ("cmeel-mimalloc", Path(sysconfig.get_path("purelib"), "cmeel.prefix", "lib", "libmimalloc.so")),
}


def measure(rival: str, method: str, overrides: dict, environment: dict[str, str]) -> dict[str, float] | str:
    """One turn of `rival` in a process of its own: `ms` a step, `first` and `peak_mb`; or why there is none."""
    environment = environment | {"TORCHDYNAMO_DISABLE": str(int("compiled" not in rival))}
    if (name := rival.split()[-1]) in ALLOCATORS:
        package, library = ALLOCATORS[name]
        if not library.exists():
            return f"not measured: type .venv/bin/python -m pip install {package}"
        environment |= {"LD_PRELOAD": str(library), "LD_LIBRARY_PATH": str(library.parent)}
    command = [sys.executable, "-m", "benchmarks.rivals", rival, method, json.dumps(overrides)]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:120]
    return json.loads(done.stdout.splitlines()[-1])


def turn(rival: str, method: str, overrides: dict) -> dict[str, float]:
    """Train two epochs of the same texts: ms a step of the second, seconds more of the first, peak memory in MB.

    Both epochs have the same texts, so that every rival trains on the same tokens; what a rival does only once, such as
    compiling, is in the first.
    """
    import torch

    from benchmarks.plain import plain_trainer
    from course_utils.comparison.training_step import short_training
    from course_utils.config import load_experiment
    from course_utils.host import map_large_blocks
    from course_utils.training.trainer import StepTimes

    settings = {"max_validation": 16, "epochs": 2, "methods": [method], **overrides}
    config = load_experiment("quick", settings).config(method)
    data = config.load_data()
    torch.set_num_threads(config.threads)
    steps = 2 * len(data.sets["train"]) // config.batch_size
    with tempfile.TemporaryDirectory() as folder:
        if rival == OURS:
            map_large_blocks()
            trainer = short_training(config, data, Path(folder), steps)
        else:
            trainer = plain_trainer(config, data, folder, logging_steps=steps, **SCRIPTS[rival])
            trainer.add_callback(StepTimes())
        trainer.train()
    times = [t for entry in trainer.state.log_history for t in entry.get("step_ms", [])]
    first, second = times[: steps // 2], times[steps // 2 :]
    return {
        "ms": statistics.mean(second),
        "first": (sum(first) - sum(second)) / 1000,
        "peak_mb": torch.cuda.max_memory_allocated() / 2**20 if has_gpu() else status_of_process("VmHWM") / 2**20,
    }


if __name__ == "__main__":
    print(json.dumps(turn(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
