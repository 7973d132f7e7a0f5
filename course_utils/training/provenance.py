"""What a run records of the machine and of the code that made it."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from course_utils import runs
from course_utils.host import processes
from course_utils.paths import PROJECT


def peak_memory() -> runs.Memory:
    """Highest memory of this process so far: on a GPU what was allocated there, else the resident set."""
    if torch.cuda.is_available():
        return runs.Memory(peak_bytes=torch.cuda.max_memory_allocated(), measured_as="peak CUDA memory allocated")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return runs.Memory(
        peak_bytes=peak if sys.platform == "darwin" else peak * 1024,
        measured_as="peak resident set of the whole process",
    )


def surroundings(threads: int, load_before: float) -> runs.Environment:
    """Versions, processor, threads, and the machine's load before the run and now."""
    packages = ["torch", "transformers", "peft", "bitsandbytes", "datasets", "accelerate"]
    return runs.Environment(
        versions={"python": platform.python_version()} | {name: version(name) for name in packages},
        processor=processor_name(),
        threads=threads,
        processes=processes(),
        load=(load_before, os.getloadavg()[0]),
    )


def processor_name() -> str:
    """Name of the processor, and of the GPU before it where there is one."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.*\S)", cpuinfo.read_text() if cpuinfo.is_file() else "", re.MULTILINE)
    processor = named[1] if named else platform.processor() or platform.machine()
    return f"{torch.cuda.get_device_name()} ({processor})" if torch.cuda.is_available() else processor


def git_state() -> runs.GitState | None:
    """The commit that is checked out; None where there is no history."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "course_utils", "Snakefile")
        return runs.GitState(commit=git("rev-parse", "HEAD"), dirty=bool(changed))
    except (OSError, subprocess.CalledProcessError):
        return None  # an unpacked archive has no history
