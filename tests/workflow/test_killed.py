"""Killed anywhere, the one command goes on to the same numbers, and what was damaged is noticed.

Four kills, one of each way, hit starts that make two runs, the baselines and a chapter, and bind no report; 30 or more
hit everything, from nothing on.
COURSE_KILLS=30 ./tests/run.sh -s tests/workflow/test_killed.py kills 30 times and prints where; COURSE_KILL_SEED
draws others.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest
from small import ADAPTER, GATED, HEAD, flip_a_byte
from whole_project import marked, outcome, start

from course_utils.__main__ import main
from course_utils.comparison.results import read_runs
from course_utils.config import load_experiment
from course_utils.runs import find_run, is_unchanged, read_run
from course_utils.training import train

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("COURSE_KILLS", "4"))
SEED = int(os.environ.get("COURSE_KILL_SEED", "1"))
ENOUGH_FOR_ALL = 30  # kills, half of them aimed, that hit every stage
LONGEST_WAIT = 20 if KILLS >= ENOUGH_FOR_ALL else 8  # seconds from a start's first job to its kill
WAYS = ["SIGKILL to all", "SIGKILL to the start alone", "SIGTERM", "SIGINT"]
FEW = [f"runs/smoke/main/{method}/seed-0/result.json" for method in (GATED, HEAD)]
FEW += ["runs/smoke/baselines.parquet", "reports/smoke/notebooks/01_data.ipynb"]  # what a few kills can hit
ASKED_FOR = [] if KILLS >= ENOUGH_FOR_ALL else ["--", *FEW]


def test_killed_again_and_again_it_comes_to_the_same(smoke, own_smoke):
    chance = random.Random(SEED)
    ways = (WAYS * KILLS)[:KILLS]
    chance.shuffle(ways)
    project = own_smoke
    clear(project)
    hit, begun, resumed, rounds = Counter(), set(), 0, 0

    def stage_not_hit_yet() -> bool:
        stages, now = {stage for _, stage in hit}, set(running(project))
        return bool(now - stages or (rounds and begun <= stages and now))  # any, once all were hit

    while ways:
        shutil.rmtree(project / "logs", ignore_errors=True)
        process = start(project, *ASKED_FOR)
        aimed, anywhere, at_the_start = (stage_not_hit_yet, 2), (lambda: running(project), LONGEST_WAIT), (None, 5)
        aim, longest = [aimed, aimed, anywhere, at_the_start][len(ways) % 4]
        while aim and process.poll() is None and not aim():
            time.sleep(0.05)
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, longest))
        if process.poll() is None:
            stages = running(project)
            way = ways.pop()
            kill(process, project, way)
            for stage in stages or ["between steps"]:
                hit[way, stage] += 1
        else:
            assert process.returncode == 0, process.stdout.read()
            assert outcome(project) == smoke.outcome
            rounds += 1
            clear(project)
        begun |= set(jobs(project).values())
        resumed += goes_on(project)
        for record in (project / "runs").rglob("result.json"):
            if ".unfinished" not in str(record):
                assert is_unchanged(read_run(record.parent)), record
    last = start(project, *ASKED_FOR)
    output, _ = last.communicate(timeout=900)
    resumed += goes_on(project)
    assert last.returncode == 0, output
    assert outcome(project) == smoke.outcome
    assert marked(project) == []
    print(f"\n{KILLS} kills, {rounds + 1} whole runs, {resumed} trainings went on from a checkpoint")
    for (way, stage), times in sorted(hit.items()):
        print(f"{times:4}  {way:<27} {stage}")
    assert KILLS < ENOUGH_FOR_ALL or begun <= {stage for _, stage in hit}, begun


def kill(process, project, way: str) -> None:
    """End a start and, unless it is to do so itself, what it has started."""
    if way.startswith("SIGKILL"):
        victims = [psutil.Process(process.pid), *(marked(project) if way.endswith("all") else [])]
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        process.communicate()
        return
    process.send_signal(getattr(signal, way))
    output, _ = process.communicate(timeout=30)
    # Before Python has got to where it listens, the signal ends it at once: there is nothing yet to stop.
    assert process.returncode == 130 or (process.returncode < 0 and "runs of" not in output), (way, output)
    if process.returncode == 130:
        assert "the same command goes on from here" in output and "Traceback" not in output
    if list((project / "logs").glob("*-smoke.log")):  # else what an earlier kill has left is not yet ended
        assert marked(project) == []


def jobs(project) -> dict[str, str]:
    """Number → stage of the jobs that the last start in `project` has begun, by Snakemake's log of it."""
    logs = list((project / "logs").glob("*-smoke.log"))
    text = logs[0].read_text() if logs else ""
    return {job: stage.removesuffix(", seed 0 (main)") for job, stage in re.findall(r"^Job (\d+): (.*)$", text, re.M)}


def running(project) -> list[str]:
    """What the start at work in `project` is doing."""
    logs = list((project / "logs").glob("*-smoke.log"))
    done = re.findall(r"^Finished jobid: (\d+)", logs[0].read_text(), re.M) if logs else []
    return [stage for job, stage in jobs(project).items() if job not in done]


def goes_on(project) -> int:
    """How many trainings of the last start went on from a checkpoint, by their logs."""
    return sum("goes on from step" in log.read_text() for log in (project / "logs" / "smoke").glob("*.log"))


def clear(project) -> None:
    """Remove what a smoke run has made, so that it is made again: all of it, or what a few kills can hit."""
    if KILLS >= ENOUGH_FOR_ALL:
        shutil.rmtree(project / "runs" / "smoke")
        shutil.rmtree(project / "reports" / "smoke")
        return
    for path in (project / name for name in FEW):
        if path.name == "result.json":
            shutil.rmtree(path.parent)
        else:
            path.unlink()


# ---------------------------------------------------------------- what was damaged is noticed


@pytest.fixture(scope="module")
def experiment(tiny):
    """The smoke profile on the tiny base."""
    return load_experiment("smoke", {"base_model": tiny.name})


@pytest.fixture(scope="module")
def finished(experiment, tmp_path_factory):
    """A run of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_RUNS", str(tmp_path_factory.mktemp("finished")))
        return train.train(experiment.config(ADAPTER))


@pytest.fixture
def run(finished, runs_in):
    """A copy of it, to damage."""
    shutil.copytree(finished.folder.parents[3], runs_in)
    return read_run(runs_in / finished.config.path)


def edit_accuracy(path):
    """Raise the test accuracy by a point, and keep the record well formed."""
    record = json.loads(path.read_text())
    record["metrics"]["test"]["accuracy"] += 0.01
    path.write_text(json.dumps(record))


def misspell(path):
    """Write a name of the record in another way."""
    path.write_text(path.read_text().replace('"accuracy"', '"acuracy"'))


DAMAGE = {
    "edited": ("result.json", edit_accuracy, "result.json was changed after the run wrote it"),
    "misspelt": ("result.json", misspell, "result.json is damaged"),
    "truncated": ("result.json", lambda path: os.truncate(path, 1_000), "result.json is damaged"),
    "adapter": ("adapter/adapter_model.safetensors", flip_a_byte, "a file is not what the run recorded"),
    "predictions": ("predictions.parquet", flip_a_byte, "a file is not what the run recorded"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_run_is_named(kind, experiment, run, capsys):
    name, damage, said = DAMAGE[kind]
    damage(run.folder / name)
    assert main(["predict", str(run.folder), "A fine film."]) == 2
    assert said in capsys.readouterr().err
    results = read_runs(experiment)
    reasons = [missing.reason for missing in results.missing if missing.config == run.config]
    assert all("damaged" in reason for reason in reasons) and (reasons or kind == "adapter")
    assert find_run(run.config) is None


@pytest.mark.parametrize("kind", ["truncated", "adapter"])  # a record that says nothing, and one that a file belies
def test_a_damaged_run_is_made_again(kind, run):
    name, damage, _ = DAMAGE[kind]
    predictions = (run.folder / "predictions.parquet").read_bytes()
    damage(run.folder / name)
    again = train.train(run.config)
    assert is_unchanged(again) and again.result.metrics == run.result.metrics
    assert (again.folder / "predictions.parquet").read_bytes() == predictions


def test_a_torn_part_of_a_checkpoint_is_noticed(experiment, runs_in, tmp_path, monkeypatch):
    config = experiment.config(ADAPTER)
    monkeypatch.setattr(train, "_predict", None)  # an end after the last checkpoint
    with pytest.raises(TypeError):
        train.train(config)
    folder = runs_in / config.path.replace("seed-0", ".seed-0.unfinished") / "checkpoints"
    first, last = sorted(path.name for path in folder.iterdir())
    for part in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trained.safetensors", "trainer_state.json"):
        own = shutil.copytree(folder, tmp_path / part)
        assert train.last_checkpoint(own) == str(own / last)
        os.truncate(own / last / part, (own / last / part).stat().st_size - 40)
        assert train.last_checkpoint(own) == str(own / first), part
