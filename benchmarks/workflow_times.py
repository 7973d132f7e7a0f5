"""How long the workflow takes: its stages, a start with nothing to do, other commands, and thousands of runs."""

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
from datetime import datetime
from unittest.mock import patch

from benchmarks.tables import table
from course_utils.comparison.results import read_runs
from course_utils.comparison.tables import summary_table, write_comparison
from course_utils.config import load_experiment
from course_utils.paths import PROJECT, runs_folder
from course_utils.runs import Run, checksum_of, find_run
from course_utils.stats import compare_pairs


def stages() -> str:
    """Where `./run_all.sh --profile quick` spends its time"""
    logs = sorted((PROJECT / "logs").glob("*-quick.log"), key=lambda path: path.stat().st_size)
    results = [json.loads(path.read_text()) for path in runs_folder().glob("quick/*/*/*/result.json")]
    if not logs or not results:
        return "Not measured: `./run_all.sh --profile quick` has not run here."
    spans = spans_of_jobs(logs[-1].read_text(encoding="utf-8"))

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


def spans_of_jobs(log: str) -> dict[str, tuple[float, float]]:
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
    shutil.copytree(run.folder, folder, copy_function=os.symlink, ignore=shutil.ignore_patterns("result.json"))
    (folder / "result.json").write_text(json.dumps(record | {"checksum": checksum_of(record)}), encoding="utf-8")
