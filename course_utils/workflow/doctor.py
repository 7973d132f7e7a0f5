"""Says what this machine can do and which profile fits it."""

import platform
import shutil

from course_utils import __version__
from course_utils.config import Experiment, load_experiment, profile_names
from course_utils.errors import CourseError
from course_utils.host import has_bf16, has_gpu, memory_mib, usable_cores
from course_utils.inputs.sources import Hub
from course_utils.paths import PROJECT
from course_utils.text import duration
from course_utils.workflow.estimates import expected_total, memory_needed


def _hub_answers() -> bool:
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=3)
    except Exception:  # HF_ENDPOINT may be anything
        return False
    return True


def obstacles(experiment: Experiment, memory: float, disk: float, hub: bool) -> list[str]:
    """What a machine with this `memory` and `disk`, in GB, and a `hub` that answers or not, lacks for `experiment`."""
    config = experiment.shared
    profile = experiment.profile
    source = config.source
    from_hub = [] if config.base.is_embedded else ["base_model"]
    from_hub += ["data"] if isinstance(source, Hub) and not source.files() else []
    lacking = []
    if disk < profile.disk_gb:
        lacking.append(f"{profile.disk_gb:g} GB of disk")
    if memory < (needed := memory_needed(experiment) / 1000):
        lacking.append(f"{needed:.1f} GB of memory")
    if from_hub and not hub:
        copied = f"a copy in {source.copy}, or " if isinstance(source, Hub) and source.copy else ""
        lacking.append(f"the hub (or {copied}" + " ".join(f"-p {name}=FOLDER" for name in from_hub) + ")")
    return lacking


def main() -> None:
    """Print what the machine has, and a table of the profiles."""
    cores, memory, disk = usable_cores(), memory_mib() * 2**20 / 1e9, shutil.disk_usage(PROJECT).free / 1e9
    gpu, hub = None, _hub_answers()
    if has_gpu():
        import torch

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    for name, value in {
        "Python": f"{platform.python_version()}, course {__version__}",
        "cores": cores,
        "bfloat16": "yes"
        if has_bf16()
        else "no: products are computed in 32 bits, and rounded where a profile asks for it",
        "GPU": gpu or "none that torch can use: runs use the CPU's cores",
        "memory": f"{memory:.1f} GB; as many runs at once as fit into it",
        "disk": f"{disk:.0f} GB free here",
        "hub": "answers" if hub else "does not answer; the embedded encoder and sentences need no hub",
    }.items():
        print(f"{name:<9} {value}")

    print(f"\n{'profile':<9} {'runs':>4} {'from nothing':>14}  {'disk':<7} {'memory a run':<12}  fits this machine")
    experiments, damaged = [], []
    for name in profile_names():
        try:
            experiments.append(load_experiment(name))
        except CourseError as error:
            damaged.append(error)
    for experiment in sorted(experiments, key=lambda e: expected_total(e, cores)):
        lacking, profile = obstacles(experiment, memory, disk, hub), experiment.profile
        print(
            f"{experiment.profile_name:<9} {len(experiment.configs()):>4}"
            f" {duration(expected_total(experiment, cores)):>14}"
            f"  {f'{profile.disk_gb:g} GB':<7} {f'{memory_needed(experiment) / 1000:.1f} GB':<12} "
            f" {'no, it needs ' + ' and '.join(lacking) if lacking else 'yes'}"
        )
    for reason in damaged:
        print(f"\nLeft out: {reason}")
    print("\nStart one with ./run_all.sh --profile NAME.")
