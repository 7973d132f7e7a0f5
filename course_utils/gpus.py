"""Which NVIDIA GPUs there are, and which of them a run takes; found out without importing torch."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path


@cache
def visible_gpus() -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES may call the GPUs that this process can use; empty where there is none."""
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = tuple(str(number) for number, _ in enumerate(listed.stdout.splitlines())) if not listed.returncode else ()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if chosen is None else tuple(name for name in chosen.split(",") if found and name.strip())


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU."""
    return bool(visible_gpus())


def take_one() -> None:
    """Where several GPUs are visible, leave this process one that no other run has taken; wait until one is free.

    Call it before anything touches CUDA. The GPU is held by the lock of a file for as long as the process lives.
    """
    names = visible_gpus()
    if len(names) < 2:
        return
    locks = Path(tempfile.gettempdir()) / f"course-gpus-of-{os.getuid()}"
    locks.mkdir(mode=0o700, exist_ok=True)
    while True:
        for name in names:
            lock = os.open(locks / f"gpu-{name.replace('/', '_')}.lock", os.O_CREAT | os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = name
                return
        time.sleep(1)
