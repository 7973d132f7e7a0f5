"""The command ./run_all.sh: checks what was asked for, then lets Snakemake do what is not up to date."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from filelock import Timeout

from course_utils.code_identity import from_records
from course_utils.config import Experiment, load_experiment, parse_overrides
from course_utils.errors import CourseError, check_writable
from course_utils.host import (
    at_once,
    check_threads,
    has_bf16,
    has_gpu,
    locked,
    memory_mib,
    number_in,
    runs_a_gpu,
    usable_cores,
)
from course_utils.paths import PROJECT, assets_folder, relative_to_project, reports_folder, runs_folder
from course_utils.report.bind import read_settings
from course_utils.report.fonts import NOT_PRINTED
from course_utils.text import and_joined, counted, duration
from course_utils.workflow.check import check_folders, check_inputs, check_records, understood
from course_utils.workflow.estimates import expected_seconds, expected_total, seconds_of_chapters
from course_utils.workflow.fork_server import fork_server
from course_utils.workflow.progress import Progress

STATE = PROJECT / ".snakemake"
WRONG_OPTION = 2  # Snakemake's exit status where it does not know an option
PLUGINS = PROJECT / "course_utils" / "workflow" / "plugins"  # of Snakemake
EXECUTORS = {"-e", "--executor", "--profile", "--workflow-profile"}  # Snakemake's options that say who does the work
FILLED_IN = re.compile(r"[{}]|<[a-z][a-z0-9_]*>")  # what Snakemake takes for more than a name in a path
MARK = "COURSE_WORKFLOW"  # in the environment of every process that a start of this checkout has started
HOMELY = {  # where Snakemake, matplotlib, IPython and Jupyter put their caches and connection files
    "XDG_CACHE_HOME": ".cache",
    "MPLCONFIGDIR": ".config/matplotlib",
    "IPYTHONDIR": ".ipython",
    "JUPYTER_RUNTIME_DIR": ".local/share/jupyter/runtime",
}


def run(profile: str, pairs: list[str], cores: int | None, dry_run: bool, force: bool, for_snakemake: list[str]) -> int:
    """Run the workflow; exit status 0 only when everything that was asked for is there."""
    for stop in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(stop) is signal.SIG_DFL:  # nohup ignores SIGHUP, and so do we then
            signal.signal(stop, signal.default_int_handler)
    read_settings()  # an error in them is reported before hours of work, not after
    overrides = parse_overrides(pairs)
    experiment = load_experiment(profile, overrides)
    shared = experiment.shared
    check_folders(shared)
    check_writable(runs_folder(), "COURSE_RUNS")
    check_writable(reports_folder(), "COURSE_REPORTS")
    for place in map(relative_to_project, (runs_folder(), reports_folder())):
        if FILLED_IN.search(place):
            raise CourseError(f"{place}: Snakemake replaces braces and <words>; give the folder a name without them.")
    cores, together = cores or usable_cores(), number_in("COURSE_PROCESSES", 1)
    number_in("COURSE_GPUS", 0)  # the Snakefile would report an error less clearly
    check_threads(shared.threads, cores)
    elsewhere = any(word.partition("=")[0] in EXECUTORS for word in for_snakemake)
    if shared.threads * together > cores and not elsewhere:
        raise CourseError(
            f"COURSE_PROCESSES: {together} processes of {shared.threads} threads a run are more than the {cores} cores;"
            f" set {cores // shared.threads} or less."
        )
    if together > 1 and runs_a_gpu() > 1:
        raise CourseError("COURSE_PROCESSES: a run on several GPUs shares none of them; set COURSE_RUNS_A_GPU to 1.")
    if together > at_once(cores) and not elsewhere:
        raise CourseError(
            f"COURSE_PROCESSES: {together} is more than the {at_once(cores)} GPUs; set {at_once(cores)} or less."
        )
    if from_records():
        check_records(experiment)
    announce(experiment, cores)
    for line in check_inputs(experiment)["understood"] if dry_run else understood(experiment):
        print(f"  {line}", flush=True)

    found = [f"{name}={value}" for name, value in overrides.items()]  # as seen from the project, where they are read
    command = [sys.executable, "-m", "snakemake"]
    if not elsewhere:  # a cluster has limits of its own
        command += ["--cores", str(cores), "--resources", f"mem_mb={memory_mib()}", f"device={at_once(cores)}"]
    # At the end of a timespan Snakemake looks at all waiting jobs, once for each job that it ever began: with 300 runs
    # and its usual second this takes a fifth of a core. When all is done it waits for one timespan.
    timespan = 1 if from_records() else max(1, len(experiment.configs()) // 30)  # seconds
    command += ["--max-jobs-per-timespan", f"{100 * timespan}/{timespan}s"]
    command += ["--logger", "course", "--scheduler", "greedy", "--nolock", "--nocolor", "--rerun-incomplete"]
    command += ["--keep-going", "--show-failed-logs", *["--dry-run"] * dry_run, *for_snakemake, *["--forceall"] * force]
    command += ["--config", f"profile={profile}", f"overrides={json.dumps(found, ensure_ascii=False)}"]
    command += ["force=1"] * force + ["from_records=1"] * from_records()

    with only_one_at_a_time():
        end_marked_processes()  # left by a start that was killed
        return follow(command, experiment, cores, dry_run, elsewhere)


def announce(experiment: Experiment, cores: int) -> None:
    """Say what is about to be made, which methods take which settings, and roughly how long all of it takes."""
    profile, runs = experiment.profile, counted(len(experiment.configs()), "run")
    print(f"{profile.title} ({experiment.name}): {experiment.description}")
    for name, takers in experiment.takers.items():
        print(f"  {name} = {experiment.overrides[name]}: {', '.join(takers)}")
    if from_records():
        records = relative_to_project(experiment.report_folder / "records")
        print(f"  {runs}, from {records}; nothing is trained", flush=True)
        return
    gpus = at_once(cores) if has_gpu() else 0
    on = counted(gpus, "GPU") if gpus else counted(cores, "core") + ("" if has_bf16() else ", without units for bf16")
    methods = counted(len(experiment.methods), "method")
    takes = f"; with nothing done yet roughly {duration(expected_total(experiment, cores))} on {on}"
    if experiment.shared.has_own_texts:  # of so many texts as are counted first
        takes = f" on {on}; how long they take is said when the texts are counted"
    print(f"  {runs} of {methods}{takes}", flush=True)


def follow(
    command: list[str],
    experiment: Experiment,
    cores: int,
    dry_run: bool,
    elsewhere: bool,
    without: frozenset[str] = frozenset(),
) -> int:
    """Run Snakemake, show its progress, and say at the end where everything is; `elsewhere`: on a cluster.

    The report is made without the chapters that `without` names, and where it holds "runs", without those missing.
    Where more of either fails, Snakemake is run again without these too.
    """
    log = PROJECT / "logs" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{experiment.name}.log"
    log.parent.mkdir(exist_ok=True)
    trainings = {f"train_{name}": expected_seconds(experiment.config(name)) for name in experiment.methods}
    expected = trainings | seconds_of_chapters(experiment)
    started = time.monotonic()
    found = {"report": lambda: not_printed(PROJECT / "logs" / experiment.name / "report.log")}
    if not understood(experiment):  # said once
        found["inputs"] = lambda: understood(experiment)
    # CUDA does not work after a fork of a process that has used it.
    shared_start = experiment.shared.speedups and not (has_gpu() or elsewhere)
    try:
        with (
            log.open("w") as file,
            Progress(expected, at_once(cores), dry_run, found) as progress,
            fork_server(variables()) if shared_start else nullcontext(variables()) as shared,
        ):
            left_out = [f"without={','.join(sorted(without))}"] * bool(without)
            status = snakemake([*command, *left_out], shared, file, progress, elsewhere)
    except BaseException:
        end_marked_processes()
        raise

    details = relative_to_project(log)
    if status == WRONG_OPTION:
        print(f"{progress.reason(log)}: correct the words after --. Details: {details}", file=sys.stderr)
        return 2
    if status:
        runs_failed = any(rule.startswith(("train_", "baselines", "measure")) for rule in progress.failed_rules)
        chapters = sorted(progress.failed_chapters - without)
        if more := ["runs"] * (runs_failed and "runs" not in without) + chapters:
            named = and_joined(["the runs that failed" if name == "runs" else name for name in more])
            print(f"Going on to a report without {named}.", flush=True)
            again = [word for word in command if word not in ("--forceall", "force=1")]
            follow(again, experiment, cores, dry_run, elsewhere, without.union(more))
        print(
            f"Not everything could be made: {progress.reason(log)}. What is finished is kept; the same command tries"
            f" the rest again. Details: {details}",
            file=sys.stderr,
        )
        return 2 if "inputs" in progress.failed_rules else 1  # the model or the data are not what is needed
    if dry_run:
        print(f"{counted(progress.total, 'step')} to do." if progress.total else "Everything is up to date.")
        return 0
    took = f"Done in {duration(time.monotonic() - started)}" if progress.total else "Everything is up to date"
    report = experiment.report_folder / "report.html"
    if report.exists():  # options for Snakemake may have asked for less
        took += f". The report: {relative_to_project(report)}, and report.pdf beside it"
    print(f"{took}. Details: {details}")
    return 0


def not_printed(log: Path) -> list[str]:
    """The lines in the log of the report about characters that no font has."""
    lines = log.read_text("utf-8").splitlines() if log.is_file() else []
    return [line for line in lines if line.startswith(NOT_PRINTED)]


def snakemake(command: list[str], variables: dict[str, str], log: IO, progress: Progress, elsewhere: bool) -> int:
    """Run Snakemake in the environment `variables`, into `log`; `progress` takes its events; returns its status."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=variables | {"COURSE_EVENTS": str(writing)},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=[writing],
        start_new_session=True,  # Ctrl-C is for this process, which then ends the others
    )
    os.close(writing)
    try:
        with open(reading, encoding="utf-8") as events:
            for event in events:
                progress.take(json.loads(event))
        return process.wait()
    except BaseException:
        if elsewhere:  # Snakemake cancels its jobs at SIGINT, not at SIGTERM
            with suppress(subprocess.TimeoutExpired):
                process.send_signal(signal.SIGINT)
                process.wait(60)
        raise


# ---------------------------------------------------------------- one at a time, and no orphans


@contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Hold this checkout's lock, after waiting for another holder.

    The system frees the lock in whatever way its holder ends: at once on this machine, and after a minute or two where
    another machine that shares the folder went down. The file beside the lock only names the holder.
    """
    STATE.mkdir(exist_ok=True)
    lock, holder = locked(STATE / "course.lock"), STATE / "course.holder"
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        said = holder.read_text() if holder.is_file() else "process unknown"
        print(f"Waiting for another start of the workflow in this folder ({said}).", flush=True)
        held = lock.acquire()
    with held:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield


def variables() -> dict[str, str]:
    """Environment of Snakemake and all that it starts."""
    ours = {
        MARK: str(STATE),
        "PYTHONPATH": os.pathsep.join(map(str, (PROJECT, PLUGINS))),
        "COURSE_RUNS": str(runs_folder()),
        "COURSE_ASSETS": str(assets_folder()),
        "COURSE_REPORTS": str(reports_folder()),
        "COURSE_FROM": str(PROJECT),  # what the reader typed is resolved by now
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "TQDM_DISABLE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    return os.environ | ours | private_folders()


def private_folders() -> dict[str, str]:
    """Variables that move what libraries keep in the home into the project, if the home cannot be written to."""
    home = Path(os.path.expanduser("~"))

    def is_of_use(folder: Path) -> bool:
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        return home.is_dir() and os.access(nearest, os.W_OK)

    return {
        variable: str(STATE / "home" / variable)
        for variable, usual in HOMELY.items()
        if variable not in os.environ and not is_of_use(home / usual)
    }


def end_marked_processes() -> None:
    """End every process that a start in this checkout has left, those in sessions of their own included.

    Only the holder of the lock may call this: every process with the mark is then its own, or left by an ended start.
    """
    import psutil

    def is_marked(process: psutil.Process) -> bool:
        with suppress(psutil.Error):  # gone meanwhile, or another user's
            return process.pid != os.getpid() and process.environ().get(MARK) == str(STATE)
        return False

    signal_to_send = signal.SIGTERM
    while left := [process for process in psutil.process_iter() if is_marked(process)]:
        for process in left:
            with suppress(psutil.Error):
                process.send_signal(signal_to_send)
        psutil.wait_procs(left, timeout=3)
        signal_to_send = signal.SIGKILL
