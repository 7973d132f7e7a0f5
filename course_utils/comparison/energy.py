"""The energy that a machine counts while something is computed, where it has a counter that may be read.

On Linux the counters of Intel's and AMD's processors (RAPL) stand in files. Each counts a whole processor, with
everything that runs on it, and starts again at zero after its range. Many systems let only root read them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

COUNTERS = Path("/sys/class/powercap")


def joules_of(work: Callable[[], object]) -> float | None:
    """The energy in joules that all processors of this machine take during `work`; None without one that counts."""
    before = _microjoules()
    work()
    after = _microjoules()
    if not before or before.keys() != after.keys():
        return None
    ranges = {counter: int((counter / "max_energy_range_uj").read_text()) for counter in before}
    return sum((after[counter] - before[counter]) % ranges[counter] for counter in before) / 1e6 or None


def _microjoules() -> dict[Path, int]:
    """Counter of a processor → what it shows; empty where one of them cannot be read."""
    try:
        zones = [zone for zone in COUNTERS.glob("intel-rapl:*") if (zone / "name").read_text().startswith("package")]
        return {zone: int((zone / "energy_uj").read_text()) for zone in zones}
    except OSError:
        return {}
