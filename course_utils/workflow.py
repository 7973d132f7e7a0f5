"""The one command: checks what was asked for, then lets Snakemake do what is not up to date."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from math import ceil
from pathlib import Path

from course_utils.errors import CourseError
from course_utils.fork_server import fork_server
from course_utils.gpus import has_gpu, visible_gpus
from course_utils.paths import (
    PROJECT,
    assets_folder,
    check_writable,
    relative_to_project,
    reports_folder,
    runs_folder,
)
from course_utils.progress import OTHER_SECONDS, Progress, duration

STATE = PROJECT / ".snakemake"
EXECUTORS = {"-e", "--executor", "--profile", "--workflow-profile"}  # Snakemake's options that say who does the work
WITHOUT_MISSING = "without_missing=1"  # tells the Snakefile to make a report of the runs that there are
GROUPS = Path("/sys/fs/cgroup")
MEMORY_LIMIT = {"": "memory.max", "memory": "memory.limit_in_bytes"}  # controller → file, in versions 2 and 1
MARK = "COURSE_WORKFLOW"  # in the environment of every process that a start of this checkout has started
SST2_SIZE = 67_349
HOMELY = {  # where Snakemake, matplotlib, IPython and Jupyter put their caches and connection files
    "XDG_CACHE_HOME": ".cache",
    "MPLCONFIGDIR": ".config/matplotlib",
    "IPYTHONDIR": ".ipython",
    "JUPYTER_RUNTIME_DIR": ".local/share/jupyter/runtime",
}


def main(arguments: list[str]) -> int:
    """Run the workflow; exit status 0 only when everything that was asked for is there."""
    for stop in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(stop) is signal.SIG_DFL:  # nohup ignores SIGHUP, and so do we then
            signal.signal(stop, signal.default_int_handler)
    options, for_snakemake = parse_arguments(arguments)

    from course_utils.__main__ import parse_overrides
    from course_utils.config import load_experiment
    from course_utils.report import read_settings
    from course_utils.sources import check_folders, source_files

    read_settings()  # what is wrong with them is said before hours of work, not after
    pairs = options.overrides + ([f"seeds={options.seeds}"] if options.seeds is not None else [])
    experiment = load_experiment(options.profile, parse_overrides(pairs))
    shared = experiment.config(experiment.methods[0])
    check_folders(shared)
    check_writable(runs_folder(), "COURSE_RUNS")
    check_writable(reports_folder(), "COURSE_REPORTS")
    for place in (runs_folder(), reports_folder(), *source_files(shared)):
        if "{" in str(place) or "}" in str(place):
            raise CourseError(f"{place}: Snakemake takes braces for a pattern; give the folder a name without them.")
    cores, together = options.cores or usable_cores(), processes_a_run()
    if shared.threads > cores:
        raise CourseError(f"threads: {shared.threads} is more than the {cores} cores; type -p threads={cores} or less.")
    elsewhere = any(word.partition("=")[0] in EXECUTORS for word in for_snakemake)
    if shared.threads * together > cores and not elsewhere:
        raise CourseError(
            f"COURSE_PROCESSES: {together} processes of {shared.threads} threads a run are more than the {cores} cores;"
            f" set {cores // shared.threads} or less."
        )
    if together > at_once(cores) and not elsewhere:
        raise CourseError(f"COURSE_PROCESSES: {together} is more than the {at_once(cores)} GPUs; set no more.")
    announce(experiment, cores)

    command = [sys.executable, "-m", "snakemake"]
    if not elsewhere:  # a cluster has limits of its own
        command += ["--cores", str(cores), "--resources", f"mem_mb={memory_mb()}", f"device={at_once(cores)}"]
    command += ["--scheduler", "greedy", "--nolock", "--nocolor", "--rerun-incomplete", "--keep-going"]
    command += ["--show-failed-logs"] + ["--dry-run"] * options.dry_run + for_snakemake
    command += ["--forceall"] * options.force
    command += ["--config", f"profile={options.profile}", f"overrides={json.dumps(pairs, ensure_ascii=False)}"]
    command += ["force=1"] * options.force

    with only_one_at_a_time():
        end_marked_processes()  # left by a start that was killed
        bring_back_from_the_future(dated_files(experiment))
        return follow(command, experiment, cores, options.dry_run, elsewhere)


def parse_arguments(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and what follows `--`."""
    from course_utils.__main__ import Parser, experiment_arguments

    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = Parser(
        prog="./run_all.sh",
        description="Trains, runs the notebooks and binds the report; what is up to date is not done again.",
        epilog="Options after -- go to Snakemake.",
    )
    experiment_arguments(parser)
    parser.add_argument("--seeds", metavar="N", help="seeds of every main run (default: the profile's)")
    parser.add_argument("--cores", type=_number_of_cores, metavar="N", help="cores to use (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="list the steps that would be done, and do none")
    parser.add_argument("--force", action="store_true", help="do everything again, up to date or not")
    return parser.parse_args(arguments[:split]), arguments[split + 1 :]


def _number_of_cores(text: str) -> int:
    if text not in map(str, range(1, 1001)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of cores; type a whole number from 1 to 1000")
    return int(text)


def announce(experiment, cores: int) -> None:
    """Say what is about to be made, which settings were taken by whom, and roughly how long all of it takes."""
    profile, runs = experiment.profile, len(experiment.configs())
    print(f"{profile.title} ({experiment.name}): {profile.description}")
    for name, takers in experiment.takers.items():
        print(f"  {name} = {experiment.overrides[name]}: {', '.join(takers)}")
    gpus = at_once(cores) if has_gpu() else 0
    on = ("the GPU" if gpus == 1 else f"{gpus} GPUs") if gpus else "1 core" if cores == 1 else f"{cores} cores"
    all_of_it = duration(expected_total(experiment, cores))
    print(f"  {runs} runs of {len(experiment.methods)} methods; from nothing roughly {all_of_it} on {on}", flush=True)


def follow(command: list[str], experiment, cores: int, dry_run: bool, elsewhere: bool = False) -> int:
    """Run Snakemake, show how it gets on, and say at the end where everything is; `elsewhere`: on a cluster."""
    log = PROJECT / "logs" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{experiment.name}.log"
    log.parent.mkdir(exist_ok=True)
    expected = {f"train_{name}": expected_seconds(experiment.config(name)) for name in experiment.methods}
    started = time.monotonic()
    # A GPU forbids forks.
    shared_start = experiment.config(experiment.methods[0]).speedups and not (has_gpu() or elsewhere)
    try:
        with (
            log.open("w", encoding="utf-8") as file,
            Progress(expected, at_once(cores), dry_run) as progress,
            fork_server(environment()) if shared_start else nullcontext(environment()) as variables,
        ):
            snakemake = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is for this process, which then ends the others
            )
            for line in snakemake.stdout:
                file.write(line)
                file.flush()
                progress.read(line)
            status = snakemake.wait()
    except BaseException:
        if elsewhere:  # Snakemake takes its jobs back when it is interrupted, not when it is ended
            with suppress(subprocess.TimeoutExpired):
                snakemake.send_signal(signal.SIGINT)
                snakemake.wait(60)
        end_marked_processes()
        raise

    details = relative_to_project(log)
    if status:
        if any(rule.startswith("train_") for rule in progress.failed_rules) and WITHOUT_MISSING not in command:
            print("Going on to a report without the runs that failed.", flush=True)
            again = [word for word in command if word not in ("--forceall", "force=1")]
            follow([*again, WITHOUT_MISSING], experiment, cores, dry_run, elsewhere)
        print(
            f"Not everything could be made: {progress.reason()}. What is finished is kept; the same command tries the"
            f" rest again. Details: {details}",
            file=sys.stderr,
        )
        return 2 if "sources" in progress.failed_rules else 1  # the model or the data are not what is needed
    if dry_run:
        steps = "1 step" if progress.total == 1 else f"{progress.total} steps"
        print(f"{steps} to do." if progress.total else "Everything is up to date.")
        return 0
    took = f"Done in {duration(time.monotonic() - started)}" if progress.total else "Everything is up to date"
    report = reports_folder() / experiment.name / "report.html"
    if report.exists():  # options for Snakemake may have asked for less
        took += f". The report: {relative_to_project(report)}, and report.pdf beside it"
    print(f"{took}. Details: {details}")
    return 0


# ---------------------------------------------------------------- one at a time, and no orphans


@contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Hold this checkout's lock, after waiting for another holder.

    The system frees it however its holder ends: at once on this machine, after a minute or two where another one that
    shares the folder went down. What the file says only names the holder.
    """
    STATE.mkdir(exist_ok=True)
    with (STATE / "course.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            print(f"Waiting for the start that is at work here ({lock.read().strip()}).", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield


def environment() -> dict[str, str]:
    """Environment of Snakemake and all that it starts."""
    return os.environ | {
        MARK: str(STATE),
        "PYTHONPATH": str(PROJECT),
        "COURSE_RUNS": str(runs_folder()),
        "COURSE_ASSETS": str(assets_folder()),
        "COURSE_REPORTS": str(reports_folder()),
        "PYTHONUNBUFFERED": "1",
        "TQDM_DISABLE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    } | private_folders()


def private_folders() -> dict[str, str]:
    """Variables that give what libraries keep in the home a place here, where the home cannot be written to."""
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

    Only the holder of the lock may call it: whatever carries the mark then belongs to it, or to nobody.
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


# ---------------------------------------------------------------- clocks


def dated_files(experiment) -> list[Path]:
    """The files of `experiment` whose dates Snakemake compares."""
    from course_utils.sources import source_files

    runs, report = runs_folder() / experiment.name, reports_folder() / experiment.name
    return [
        PROJECT / "assets.lock",
        PROJECT / "reports" / "report.toml",
        *(PROJECT / "notebooks").glob("*.ipynb"),
        *source_files(experiment.config(experiment.methods[0])),
        *runs.rglob("sources.json"),
        *runs.rglob("result.json"),
        *(file for file in report.rglob("*") if file.is_file()),
    ]


def bring_back_from_the_future(files: list[Path]) -> None:
    """Date what was written while the clock was ahead to now, in the order in which it was written.

    Snakemake takes a step for failed whose input is of a later date than what the step has just written.
    """
    now = time.time_ns()
    ahead = sorted((date, file) for file in files if (date := file.stat().st_mtime_ns) > now)
    for place, (_, file) in enumerate(reversed(ahead)):
        date = now - place * 1_000_000  # a millisecond apart
        os.utime(file, ns=(date, date))


# ---------------------------------------------------------------- what the Snakefile asks


def experiment_options(profile: str, overrides: list[str]) -> str:
    """The options that name an experiment, as a shell reads them."""
    return shlex.join(["--profile", profile, *(word for pair in overrides for word in ("-p", pair))])


def code_digest() -> str:
    """Hash of the package's code and templates: notebooks and report, not runs, are made again when it changes."""
    suffixes = {".py", ".toml", ".bib", ".lua", ".typ", ".css", ".html", ".md", ".jinja"}
    return content(*(path for path in sorted((PROJECT / "course_utils").rglob("*")) if path.suffix in suffixes))


def content(*files: Path) -> str:
    """Hash of what is in `files`: a file that was replaced by an older one is noticed by it, not by its date."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def processes_a_run() -> int:
    """How many processes train each run together: COURSE_PROCESSES, or one."""
    text = os.environ.get("COURSE_PROCESSES") or "1"
    if text not in map(str, range(1, 65)):
        raise CourseError(f"COURSE_PROCESSES: {text!r} is no number of processes; set a whole number from 1 to 64.")
    return int(text)


def gpus_a_run() -> int:
    """How many GPUs each training asks a cluster for: COURSE_GPUS, or none."""
    text = os.environ.get("COURSE_GPUS") or "0"
    if text not in map(str, range(65)):
        raise CourseError(f"COURSE_GPUS: {text!r} is no number of GPUs; set a whole number up to 64.")
    return int(text)


def training_priority(method: str) -> int:
    """Longest first, so that no long run is left alone at the end; any run before a notebook."""
    from course_utils.methods import METHODS

    return ceil(10 * METHODS[method].relative_cost)


def expected_seconds(config) -> float:
    """Rough duration of a run: to order steps and to guess at the time that is left, for nothing else."""
    from course_utils.methods import METHODS

    examples = min(config.max_train or SST2_SIZE, 7_000 if config.data == "embedded" else SST2_SIZE)
    step = 0.16 * METHODS[config.method].relative_cost * (1 if config.base_model == "embedded" else 4)
    start_and_evaluation = 20
    return start_and_evaluation + config.epochs * ceil(examples / config.batch_size) * step / (20 if has_gpu() else 1)


def expected_total(experiment, cores: int) -> float:
    """Rough duration, in seconds, of the whole workflow with nothing done before."""
    from course_utils.notebooks import notebook_names

    training = sum(expected_seconds(config) for config in experiment.configs()) / at_once(cores)
    return training + OTHER_SECONDS * (2 + len(notebook_names(experiment.methods)) / cores)


# ---------------------------------------------------------------- this machine


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def at_once(cores: int) -> int:
    """How many runs train side by side: one a core, or one on each GPU."""
    return min(cores, len(visible_gpus())) or cores


def memory_mb() -> int:
    """Memory in MB that processes here may use: the machine's, or less where a container or a job has a limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    groups = Path("/proc/self/cgroup")
    for line in groups.read_text().splitlines() if groups.is_file() else []:
        _, controller, path = line.split(":", 2)
        if controller in ("", "memory"):  # version 2 has one hierarchy, version 1 one for each controller
            group = GROUPS / controller / path.strip("/")
            for file in (place / MEMORY_LIMIT[controller] for place in (group, *group.parents)):
                if file.is_file() and (limit := file.read_text().strip()).isdigit():
                    limits.append(int(limit))
    return min(limits) // 2**20
