"""python -m benchmarks [SECTION…] measures what the project claims about speed and writes benchmarks/RESULTS.md.

Contenders take turns in one process, and a figure is a median over the turns. In the sections rivals and memory each
contender has a process of its own; in the section gpu contenders are measured one after another.
Sections that are not named keep what they held.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
import typer
from torch.nn.functional import dropout

from benchmarks import gpu as on_gpu
from benchmarks import shapes
from benchmarks.parts import PARTS, memory_by_part, time_by_part
from benchmarks.rivals import OURS, RIVALS, measure
from benchmarks.steps import SCRIPT, compare_steps, contender
from course_utils.comparison.tables import read_runs, summary_table, write_comparison
from course_utils.config import load_experiment
from course_utils.inputs import nf4
from course_utils.methods import CEILING, FLOOR, METHODS, PLAIN
from course_utils.paths import PROJECT, runs_folder
from course_utils.runs import Run, checksum_of, find_run
from course_utils.stats import CrossedBootstrap, compare_pairs
from course_utils.tasks.classification import scores_of
from course_utils.training import evaluation, speed
from course_utils.training.provenance import processor_name
from course_utils.training.speed import speed_up
from course_utils.training.trainer import adapted_model
from course_utils.workflow.start import MARK, variables

RESULTS = Path(__file__).with_name("RESULTS.md")
SST2 = os.environ.get("COURSE_SST2", "../shared/data/SST-2")
# That of the workflow's jobs, without the mark: the workflow ends marked processes that an earlier start has left.
ENVIRONMENT = {name: value for name, value in variables().items() if name != MARK} | {"OMP_NUM_THREADS": "1"}
ADAPTERS = [name for name, method in METHODS.items() if not method.is_baseline]


def title(name: str) -> str:
    """A contender as tables name it."""
    return METHODS[name].title if name in METHODS else name


def has_sst2() -> bool:
    """Whether the real SST-2 is here; without it its rows are missing, and say so."""
    return (PROJECT / SST2 / "train.tsv").is_file()


def steps() -> str:
    """Training steps against the plain script and the machine"""
    parts = []
    for source, overrides, turns in (
        ("Movie sentences", {}, {"steps": 20, "repetitions": 5}),
        ("SST-2", {"data": SST2, "max_train": 3000}, {"steps": 20, "repetitions": 5}),
        ("Movie sentences, SmolLM2-135M", {"base_model": "embedded-decoder"}, {"steps": 6, "repetitions": 3}),
    ):
        if "data" in overrides and not has_sst2():
            parts.append(f"**SST-2**: not measured, it is not at {SST2} (set COURSE_SST2).")
            continue
        found, machine = compare_steps([SCRIPT, *METHODS], overrides, **turns)
        rows = [
            {
                "contender": title(name),
                "ms / step": f"{step.milliseconds:.0f}",
                "steps / s": f"{1000 / step.milliseconds:.1f}",
                "tokens / s": f"{step.tokens_per_second:,.0f}",
                "times the plain script": f"{found[SCRIPT].milliseconds / step.milliseconds:.2f}",
                f"of {PLAIN.title}'s step": f"{step.milliseconds / found[PLAIN.name].milliseconds:.2f}",
                "share of the machine's product rate": f"{step.gflop_per_second / machine:.0%}",
            }
            for name, step in found.items()
        ]
        parts.append(
            f"**{source}**, batches of 16, one thread each; the machine multiplies the step's own shapes at "
            f"{machine:.0f} GFLOP/s in the run's precision.\n\n{table(rows)}"
        )
    return "\n\n".join(parts)


def rivals() -> str:
    """Rivals: other ways to make training fast"""
    parts = []
    with shapes.written(shapes.PUBLISHED, tokenizer=True) as folder:
        cases = {
            "MiniLM's shape, movie sentences": ({"max_train": 192}, 2),
            "distilbert-base's shape, random weights": ({"max_train": 96, "base_model": folder}, 1),
            "SmolLM2-135M": ({"max_train": 64, "base_model": "embedded-decoder"}, 1),
        }
        for case, (overrides, turns) in cases.items():
            for method in (PLAIN.name, CEILING.name):
                parts.append(f"**{case}, {title(method)}**\n\n{_rivals(method, overrides, turns)}")
    return (
        "Each rival in a process of its own, one thread, turn after turn: ms a step over the second epoch of the same "
        "texts, the seconds that the first epoch took longer (compiling, first kernels), and the peak memory of the "
        "process; medians over the turns. The allocator is oneTBB's, the only one that the package index has.\n\n"
        + "\n\n".join(parts)
    )


def _rivals(method: str, overrides: dict, turns: int) -> str:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in RIVALS}
    failed: dict[str, str] = {}
    for _ in range(turns):
        for name in (name for name in RIVALS if name not in failed):
            one = measure(name, method, overrides, ENVIRONMENT)
            if isinstance(one, str):
                failed[name] = one
            else:
                found[name].append(one)
    medians = {name: pd.DataFrame(own).median() for name, own in found.items() if own}
    rows = [
        {
            "rival": name,
            "ms / step": f"{own['ms']:.0f}",
            "times as long as ours": f"{own['ms'] / medians[OURS]['ms']:.2f}",
            "first epoch, s more": f"{own['first']:.1f}",
            "peak, MB": f"{own['peak_mb']:.0f}",
        }
        for name, own in medians.items()
    ]
    return table(rows) + "".join(f"\n\n{name}: {why}" for name, why in failed.items())


def parts() -> str:
    """Where a step goes: time and memory by part"""
    torch.set_num_threads(1)
    shown = [CEILING.name, PLAIN.name, *(name for name in ADAPTERS if METHODS[name].four_bit_base)]
    found, _ = compare_steps(shown, {}, steps=20, repetitions=3)
    shares = {name: time_by_part(name, 20) for name in shown}
    times = [
        {"part": part} | {title(name): f"{shares[name][part] * found[name].milliseconds:.0f} ms" for name in shown}
        for part in PARTS
    ]
    times.append({"part": "**a step**"} | {title(name): f"{found[name].milliseconds:.0f} ms" for name in shown})
    kept = {name: memory_by_part(name) for name in shown}
    sizes = [
        {"part": part} | {title(name): f"{kept[name][part]:.1f} MB" for name in shown} for part in kept[PLAIN.name]
    ]
    return (
        "Movie sentences, batches of 16, one thread. The shares are those of a profile, which itself costs time, and "
        f"the steps were timed without it.\n\n{table(times)}\n\nWhat a step keeps, of one batch; activations are what "
        f"the forward pass keeps for the backward one.\n\n{table(sizes)}"
    )


def tricks() -> str:
    """What each trick of course_utils/training/speed.py, and of the methods themselves, pays"""
    general = {
        "the last block for one token": ("TransformerBlock", type(None)),
        "masks from SFC64": ("dropout_mask", lambda x, rate: dropout(torch.ones_like(x), rate)),
        "attention in bf16": ("SHORT_ATTENTION", "sdpa"),
        "frozen matrices in bf16": ("keep_frozen_matrices_in_bf16", lambda model, method: None),
    }
    left_out = {name: (PLAIN.name, patch.object(speed, *instead)) for name, instead in general.items()}
    for name, method in METHODS.items():
        if "speed_up" in vars(type(method)):
            left_out[f"{method.title}'s own"] = (name, patch.object(type(method), "speed_up", lambda self, model: None))
    four_bit = next(name for name, method in METHODS.items() if method.four_bit_base)
    left_out["4-bit weights once a step"] = (four_bit, patch.object(nf4, "speed_up_four_bits", lambda model: None))
    rows = []
    for name, (method, without_it) in left_out.items():
        with_all, turns = contender(method, {}, steps=20), []
        for _ in range(3):
            times, *_ = with_all()
            with without_it:
                without, *_ = with_all()
            turns.append((sum(times), sum(without)))
        ours, without = (statistics.median(turn) for turn in zip(*turns, strict=True))
        rows.append({"left out": name, "of": title(method), "step with it / without it": f"{ours / without:.2f}"})
    return table(rows)


def evaluations() -> str:
    """Evaluation, merged and not"""
    experiment = load_experiment("quick", {"methods": ADAPTERS})
    config = experiment.config(PLAIN.name)
    torch.set_num_threads(config.threads)
    frame = config.load_data().sets["test"].head(300)
    tokenizer = config.base.tokenizer()
    contenders = {"base model": speed_up(config.base.load(config.load_task()), FLOOR, config.precision)}
    for name in ADAPTERS:
        method, own = METHODS[name], experiment.config(name)

        def loaded(method=method):
            return method.load_base(config.base, config.load_task(), "fp32", config.settings)

        with tempfile.TemporaryDirectory() as folder:
            method.save(method.finish(adapted_model(own, loaded())), Path(folder))
            merged = method.load_merged(loaded(), Path(folder))
        contenders[f"{method.title}, not merged"] = adapted_model(own, loaded())
        contenders[f"{method.title}, merged"] = speed_up(merged, method, config.precision)
    times = {name: [] for name in contenders}
    for _ in range(5):
        for name, model in contenders.items():
            start = time.perf_counter()
            evaluation.predict(config, model, tokenizer, frame)
            times[name].append(1000 * (time.perf_counter() - start) / len(frame))
    median = {name: statistics.median(of_one) for name, of_one in times.items()}
    return table(
        {"model": name, "ms / sentence": f"{ms:.2f}", "of the base model's": f"{ms / median['base model']:.2f}"}
        for name, ms in median.items()
    )


def memory() -> str:
    """Peak memory over a process that does nothing"""
    train = "from benchmarks.steps import contender; contender({!r}, {{}}, 30)()"
    idle = _peak_mb("import benchmarks.steps")
    over = {name: _peak_mb(train.format(name)) - idle for name in [SCRIPT, *METHODS]}
    rows = [
        {"contender": title(name), "MB over idle": f"{mb:.0f}", f"of {PLAIN.title}'s": f"{mb / over[PLAIN.name]:.2f}"}
        for name, mb in over.items()
    ]
    return f"A process that has imported everything and does nothing peaks at {idle:.0f} MB.\n\n{table(rows)}"


def _peak_mb(code: str) -> float:
    """Peak resident set of a process that runs `code`; what its parent held before does not count."""
    code += "; import re; print('peak', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"benchmarks: this failed: {code}")
    return int(done.stdout.rpartition("peak ")[2]) / 1024


def stages() -> str:
    """Where `./run_all.sh --profile quick` spends its time"""
    logs = sorted((PROJECT / "logs").glob("*-quick.log"), key=lambda path: path.stat().st_size)
    results = [json.loads(path.read_text()) for path in runs_folder().glob("quick/main/*/*/result.json")]
    if not logs or not results:
        return "Not measured: `./run_all.sh --profile quick` has not run here."
    spans = _spans(logs[-1].read_text(encoding="utf-8"))

    def jobs(word: str) -> float:
        return sum(end - start for title, (start, end) in spans.items() if word in title)

    steps = sum(result["timing"]["train_seconds"] for result in results)
    final = sum(
        result["timing"]["eval_ms_per_example"] / 1000 * sum(metrics["n"] for metrics in result["metrics"].values())
        for result in results
    )
    seconds = {
        "**all of it, by the clock**": max(end for _, end in spans.values())
        - min(start for start, _ in spans.values()),
        "set-up check, start of the workflow": _seconds(["./run_all.sh", "--profile", "smoke", "--dry-run"]),
        "fetch and check": jobs("Fetch"),
        f"{len(results)} runs: training steps": steps,
        f"{len(results)} runs: final evaluation": final,
        f"{len(results)} runs: start, data, validation between epochs, saving": jobs("Train") - steps - final,
        "notebooks, their kernels and figures": jobs("notebook"),
        "report": jobs("report"),
        "imports of one process, where nothing shares them": _seconds(
            [sys.executable, "-c", "import course_utils.training.train"]
        ),
    }
    rows = [{"stage": stage, "seconds": f"{spent:.0f}"} for stage, spent in seconds.items()]
    return f"Jobs go two at a time; seconds are summed over the jobs of a stage.\n\n{table(rows)}"


def _spans(log: str) -> dict[str, tuple[float, float]]:
    """Title of a job → when it began and ended, in seconds, as Snakemake's log says."""
    spans, titles, now = {}, {}, 0.0
    for line in log.splitlines():
        if found := re.fullmatch(r"\[(\w+ \w+ +\d+ [\d:]+ \d+)\]", line):
            now = datetime.strptime(found[1], "%a %b %d %H:%M:%S %Y").timestamp()
        elif found := re.fullmatch(r"Job (\d+): (.*)", line):
            titles[found[1]] = f"{found[2]} #{found[1]}"
            spans[titles[found[1]]] = (now, now)
        elif (found := re.match(r"Finished jobid: (\d+)", line)) and found[1] in titles:
            spans[titles[found[1]]] = (spans[titles[found[1]]][0], now)
    return spans


def _seconds(command: list[str], times: int = 3) -> float:
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def starts() -> str:
    """Starts and the report"""
    python = [sys.executable, "-m", "course_utils"]
    commands = {
        "`./run_all.sh --profile quick`, nothing to do": (["./run_all.sh", "--profile", "quick"], 2),
        "`import course_utils`": ([sys.executable, "-c", "import course_utils"], 0.3),
        "`python -m course_utils --help`": ([*python, "--help"], 0.5),
        "`python -m course_utils report`": ([*python, "report", "--profile", "quick"], 15),
    }
    return table(
        {"command": name, "seconds": f"{_seconds(command):.2f}", "target": f"≤ {target}"}
        for name, (command, target) in commands.items()
    )


def growth() -> str:
    """Growth with examples, length and width"""
    parts = [_growth_with_examples()] if has_sst2() else []
    torch.set_num_threads(1)
    variants = {"plain": {"speedups": "false", "precision": "fp32"}, "ours": {}}
    cases = {f"384 wide, {tokens} tokens": (shapes.EMBEDDED, tokens) for tokens in (16, 32, 64, 128)}
    cases |= {f"{width} wide, 32 tokens": (shapes.of_width(width), 32) for width in (192, 768)}
    rows = []
    for name, (shape, tokens) in cases.items():
        with shapes.written(shape) as folder:
            turns = [
                {v: shapes.step_of(PLAIN.name, folder, tokens, **o)["ms"] for v, o in variants.items()}
                for _ in range(3)
            ]
        plain, ours = (statistics.median(turn[variant] for turn in turns) for variant in variants)
        rows.append(
            {
                f"{PLAIN.title}, batches of 16": name,
                "libraries' code in 32 bits, ms": f"{plain:.0f}",
                "ours, ms": f"{ours:.0f}",
                "ratio": f"{plain / ours:.2f}",
            }
        )
    return "\n\n".join([*parts, table(rows)])


def _growth_with_examples() -> str:
    settings = "{{'data': {!r}, 'max_train': {}}}"
    code = f"from benchmarks.steps import contender; contender({PLAIN.name!r}, {settings}, 20)()"
    rows = []
    for examples in (1000, 10_000, 67_000):
        start = time.perf_counter()
        peak = _peak_mb(code.format(SST2, examples))
        seconds = time.perf_counter() - start
        rows.append(
            {
                "SST-2 phrases": f"{examples:,}",
                "20 steps and all before them, s": f"{seconds:.0f}",
                "peak, MB": f"{peak:.0f}",
            }
        )
    return table(rows)


def many() -> str:
    """Thousands of runs"""
    real = [run for config in load_experiment("smoke").configs() if (run := find_run(config))]
    if not real:
        return "Not measured: `./run_all.sh --profile smoke` has not run here."
    rows = []
    for seeds in (10, 100, 1000):
        experiment = load_experiment("smoke", {"seeds": seeds})
        with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, COURSE_RUNS=folder, COURSE_REPORTS=folder):
            planning = _seconds(["./run_all.sh", "--profile", "smoke", "--seeds", str(seeds), "--dry-run"], times=1)
            for run in real:
                for seed in experiment.seeds:
                    _write_again(run, seed)
            results, reading = _timed(read_runs, experiment)
            spent = {
                "planning (`--dry-run`)": planning,
                "reading and checking": reading,
                "comparison.csv": _timed(write_comparison, results)[1],
                "intervals": _timed(summary_table, results)[1],
                "all paired tests": _timed(compare_pairs, results.predictions.correct, 0.01)[1],
            }
        rows.append({"runs": f"{len(results.runs):,}"} | {stage: f"{seconds:.1f}" for stage, seconds in spent.items()})
    sentences = real[0].result.data.sizes["test"]
    return f"Copies of the smoke profile's runs, {sentences} test sentences each; seconds.\n\n{table(rows)}"


def _timed(function, *arguments):
    """What `function` gives, and the seconds that it took."""
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


def _write_again(run: Run, seed: int) -> None:
    """A run once more, as another seed's: a record of its own, links for the other files."""
    config = run.config.model_copy(update={"seed": seed})
    record = run.result.model_copy(update={"config": config}).model_dump(mode="json")
    folder = runs_folder() / config.path
    shutil.copytree(run.folder, folder, copy_function=os.symlink)
    (folder / "result.json").unlink()
    (folder / "result.json").write_text(json.dumps(record | {"checksum": checksum_of(record)}), encoding="utf-8")


def gpu() -> str:
    """On a GPU"""
    if not torch.cuda.is_available():
        return "Not measured: this machine has none. `python -m benchmarks gpu` fills this in where there is one."
    shown = [f"{torch.cuda.get_device_name()}, bf16."]
    for measured in on_gpu.TABLES:
        shown.append(f"**{measured.__doc__}**\n\n{table(measured())}")
        print(shown[-1], flush=True)  # what was measured is not lost if the machine goes
    return "\n\n".join(shown)


def accuracy() -> str:
    """Accuracy against the plain script, over 5 seeds"""
    experiment = load_experiment("quick", {"seeds": 5})
    frame = experiment.config(PLAIN.name).load_data().sets["test"]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{seed}.npy" for seed in experiment.seeds]
        commands = [
            ["benchmarks.plain", str(seed), str(file)] for seed, file in zip(experiment.seeds, files, strict=True)
        ]
        train = ["course_utils", "train", "--method", PLAIN.name, "-p", "seeds=5", "--seed"]
        _two_at_a_time([*commands, *([*train, str(seed)] for seed in experiment.seeds)])
        plain = np.array([np.load(file) == frame.label for file in files], float)
    runs = [find_run(experiment.config(PLAIN.name, seed)) for seed in experiment.seeds]
    tables = [run.predictions().query("set == 'test'").set_index("example_id").loc[frame.example_id] for run in runs]
    ours = np.array([scores_of(rows).argmax(axis=1) == rows.label for rows in tables], float)
    interval = CrossedBootstrap.draw(*plain.shape).mean_interval(ours - plain)
    return (
        f"{PLAIN.title} at the quick profile's settings, test accuracy, {len(plain)} seeds: plain script "
        f"{plain.mean():.4f}, ours {ours.mean():.4f}; difference {100 * interval.estimate:+.2f} points, 95% interval "
        f"[{100 * interval.low:+.2f}, {100 * interval.high:+.2f}] (seeds and sentences are samples)."
    )


def audit() -> str:
    """The audit of cards: truths that it refutes, lies that it finds"""
    sys.path.insert(0, str(PROJECT / "tests" / "audit"))
    from corpus import rows

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = rows(Path(folder))
    return (
        "Cards beside adapters that PEFT made on tiny random bases, each once truthful and once with one planted lie; "
        f"made and audited twice in {time.perf_counter() - start:.0f} s.\n\n{table(found)}"
    )


def _two_at_a_time(modules: list[list[str]]) -> None:
    """Run the modules with their arguments, one thread each, in the order given."""

    def run(module: list[str]) -> int:
        command = [sys.executable, "-m", *module]
        return subprocess.run(command, cwd=PROJECT, env=ENVIRONMENT, stdout=subprocess.DEVNULL).returncode

    with ThreadPoolExecutor(2) as pool:
        if any(pool.map(run, modules)):
            raise SystemExit("benchmarks: a training run failed; its error is above")


def table(rows) -> str:
    """Rows (column → text) as Markdown."""
    return pd.DataFrame(rows).to_markdown(index=False)


SECTIONS = {
    f.__name__: f
    for f in (steps, rivals, parts, tricks, evaluations, memory, starts, stages, growth, accuracy, many, gpu, audit)
}


Section = Enum("Section", {name: name for name in SECTIONS})  # type: ignore[misc]  # mypy wants to read the names


def main(sections: Annotated[list[Section], typer.Argument()] = list(Section)) -> None:  # noqa: B006, B008
    """Measure the named sections, or all, and write RESULTS.md."""
    held = _held()
    for name in (section.value for section in sections):
        load, body = os.getloadavg()[0], SECTIONS[name]()
        packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "peft", "bitsandbytes"))
        made = (
            f"*{processor_name()}, {os.cpu_count()} cores; {packages}; load {load:.1f} before, "
            f"{os.getloadavg()[0]:.1f} after; {datetime.now():%Y-%m-%d}: `python -m benchmarks {name}`*"
        )
        held[name] = f"## {SECTIONS[name].__doc__}\n\n{body}\n\n{made}\n"
        print(held[name], flush=True)
        RESULTS.write_text(
            "# What was measured\n\nWritten by `python -m benchmarks`; what was tried and why is in README.md.\n\n"
            + "\n".join(held[n] for n in SECTIONS if n in held),
            encoding="utf-8",
        )


def _held() -> dict[str, str]:
    """The sections that RESULTS.md holds."""
    parts = RESULTS.read_text(encoding="utf-8").split("\n## ")[1:] if RESULTS.is_file() else []
    names = {f.__doc__: name for name, f in SECTIONS.items()}
    return {names[p.partition("\n")[0]]: f"## {p.rstrip()}\n" for p in parts if p.partition("\n")[0] in names}


if __name__ == "__main__":
    typer.run(main)
