"""Whether our training is as accurate as the plain script's."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.tables import ENVIRONMENT
from course_utils.config import load_experiment
from course_utils.methods import PLAIN
from course_utils.paths import PROJECT
from course_utils.runs import find_run
from course_utils.stats import CrossedBootstrap
from course_utils.tasks.classification import scores_of


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


def _two_at_a_time(modules: list[list[str]]) -> None:
    """Run the modules with their arguments, one thread each, in the order given."""

    def run(module: list[str]) -> int:
        command = [sys.executable, "-m", *module]
        return subprocess.run(command, cwd=PROJECT, env=ENVIRONMENT, stdout=subprocess.DEVNULL).returncode

    with ThreadPoolExecutor(2) as pool:
        if any(pool.map(run, modules)):
            raise SystemExit("benchmarks: a training run failed; its error is above")
