"""This machine: its cores, memory and GPUs, what it computes in, and locks; all without importing torch."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import product, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from course_utils.errors import CourseError

if TYPE_CHECKING:
    from filelock import FileLock

T = TypeVar("T")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
CONTROL_GROUPS = Path("/sys/fs/cgroup")
NAME_OF_GPU = re.compile(r"\d+|(GPU|MIG)-.+")  # its number or its id; -1 and other words mean none
MEMORY_LIMIT = {"": "memory.max", "memory": "memory.limit_in_bytes"}  # controller → file, in versions 2 and 1


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(threads: int, cores: int) -> None:
    """CourseError unless a run of so many `threads` fits the `cores`."""
    if threads > cores:
        raise CourseError(f"threads: {threads} is more than the {cores} cores; type -p threads={cores} or less.")


def at_once(cores: int) -> int:
    """How many runs train side by side: one a core, and with GPUs at most `runs_a_gpu` on each."""
    return min(cores, len(visible_gpus()) * runs_a_gpu()) or cores


def number_in(variable: str, least: int) -> int:
    """The whole number in an environment variable, `least` if unset; CourseError unless it is from `least` to 64."""
    text = os.environ.get(variable) or str(least)
    if text not in map(str, range(least, 65)):
        raise CourseError(f"{variable}: {text!r} is not allowed; set a whole number from {least} to 64.")
    return int(text)


def memory_mib() -> int:
    """Memory in MiB that processes here may use: the machine's, or less where a container or a job has a limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    groups = Path("/proc/self/cgroup")
    for line in groups.read_text().splitlines() if groups.is_file() else []:
        _, controller, path = line.split(":", 2)
        if controller in ("", "memory"):  # version 2 has one hierarchy, version 1 one for each controller
            group = CONTROL_GROUPS / controller / path.strip("/")
            for file in (place / MEMORY_LIMIT[controller] for place in (group, *group.parents)):
                if file.is_file() and (limit := file.read_text().strip()).isdigit():
                    limits.append(int(limit))
    return min(limits) // 2**20


def map_large_blocks() -> None:
    """Have glibc's allocator map a block of 1 MiB or more by itself, so that freed ones leave no holes in the heap.

    Other allocators are left as they are.
    """
    with suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(M_MMAP_THRESHOLD, 2**20)
        allocator.mallopt(M_TRIM_THRESHOLD, 2**28)  # naming one threshold would set the other low, which takes time


def give_memory_back() -> None:
    """Return to the system the unused memory that glibc's allocator keeps; other allocators do so by themselves."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def memory_in_use() -> int:
    """Bytes that this process holds now: on a GPU what is allocated there, else the resident set; 0 if unknown."""
    if has_gpu():
        import torch

        return torch.cuda.memory_allocated()
    return status_of_process("VmRSS")


def most_memory_since(work: Callable[[], Any]) -> int:
    """The most bytes, as `memory_in_use` counts them, that this process holds while it does `work`; 0 if unknown."""
    if has_gpu():
        import torch

        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far: proc(5)
    except OSError:
        return 0
    work()
    return status_of_process("VmHWM")


def status_of_process(name: str) -> int:
    """Bytes that the system says of this process under `name`, such as VmHWM, its peak so far; 0 if unknown."""
    status = Path("/proc/self/status")
    found = re.search(rf"^{name}:\s+(\d+) kB", status.read_text() if status.is_file() else "", re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def has_bf16() -> bool:
    """Whether this machine multiplies bfloat16 matrices natively."""
    if has_gpu():
        import torch

        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    flags = Path("/proc/cpuinfo")
    text = flags.read_text(encoding="utf-8", errors="ignore") if flags.is_file() else ""
    return "avx512_bf16" in text or "amx_bf16" in text


# ---------------------------------------------------------------- GPUs


@cache
def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process can use, named as in CUDA_VISIBLE_DEVICES; empty where there is none."""
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = tuple(str(number) for number, _ in enumerate(listed.stdout.splitlines())) if not listed.returncode else ()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not found:
        return found
    return tuple(takewhile(NAME_OF_GPU.fullmatch, map(str.strip, chosen.split(","))))  # as CUDA reads it


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU."""
    return bool(visible_gpus())


def runs_a_gpu() -> int:
    """How many runs share a GPU: COURSE_RUNS_A_GPU, or one."""
    return number_in("COURSE_RUNS_A_GPU", 1)


def take_a_gpu() -> None:
    """Where several GPUs are visible, leave this process one that has room for a run; wait until one has.

    Call it before anything touches CUDA. The place is held by the lock of a file for as long as the process lives.
    """
    from filelock import Timeout

    names = visible_gpus()
    if len(names) < 2:
        return
    locks = Path(tempfile.gettempdir()) / f"course-gpus-of-{os.getuid()}"
    locks.mkdir(mode=0o700, exist_ok=True)
    while True:
        for place, name in product(range(runs_a_gpu()), names):  # a run on each before a second one on any
            lock = locked(locks / f"gpu-{name.replace('/', '_')}-{place}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _HELD.append(lock)  # or it would be freed with its last reference
            os.environ["CUDA_VISIBLE_DEVICES"] = name
            return
        time.sleep(1)


_HELD: list = []


# ---------------------------------------------------------------- several processes


def processes() -> int:
    """How many processes train this run together: those of `accelerate launch` or torchrun, else one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this process finds runs, writes and evaluates for all processes that train together."""
    return int(os.environ.get("RANK", "0")) == 0


def locked(file: Path) -> FileLock:
    """The lock of `file`, which `with` waits for; the system frees it when its holder ends in any way."""
    from filelock import FileLock

    return FileLock(file, fallback_to_soft=False)  # a soft lock would outlive a holder that was killed


def from_first_process(value: Any = None) -> Any:
    """The `value` of the first process, in all of them: the others wait here until it comes."""
    if processes() == 1:
        return value
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available())
    return broadcast_object_list([value])[0]


def by_first_process(function: Callable[[], T]) -> T:
    """What `function`, called in the first process alone, returns there; the same in all processes."""
    return from_first_process(function() if is_first_process() else None)
