"""Says what this machine can do and which profile fits it."""

import platform
import shutil
from dataclasses import dataclass

from course_utils import __version__
from course_utils.config import Experiment, load_experiment, profile_names
from course_utils.host import has_bf16, has_gpu, memory_mib, usable_cores
from course_utils.inputs.sources import Hub
from course_utils.paths import PROJECT
from course_utils.text import duration
from course_utils.training.memory import expected_memory
from course_utils.workflow.estimates import expected_total


@dataclass(frozen=True)
class Capabilities:
    """What a machine has of what the profiles need; memory and disk in GB."""

    cores: int
    memory: float
    disk: float
    bf16: bool
    gpu: str | None
    hub: bool


def examine() -> Capabilities:
    """The capabilities of this machine."""
    return Capabilities(
        cores=usable_cores(),
        memory=memory_mib() * 2**20 / 1e9,
        disk=shutil.disk_usage(PROJECT).free / 1e9,
        bf16=has_bf16(),
        gpu=_gpu(),
        hub=_hub_answers(),
    )


def _gpu() -> str | None:
    if not has_gpu():
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _hub_answers() -> bool:
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=3)
    except Exception:  # HF_ENDPOINT may be anything
        return False
    return True


def obstacles(experiment: Experiment, machine: Capabilities) -> list[str]:
    """What `machine` lacks for the profile of `experiment`."""
    config = experiment.shared
    profile = experiment.profile
    source = config.source
    from_hub = [] if config.base.is_embedded else ["base_model"]
    from_hub += ["data"] if isinstance(source, Hub) and not source.files() else []
    lacking = []
    if machine.disk < profile.disk_gb:
        lacking.append(f"{profile.disk_gb:g} GB of disk")
    if machine.memory < memory_needed(experiment):
        lacking.append(f"{memory_needed(experiment):.1f} GB of memory")
    if from_hub and not machine.hub:
        copied = f"a copy in {source.copy}, or " if isinstance(source, Hub) and source.copy else ""
        lacking.append(f"the hub (or {copied}" + " ".join(f"-p {name}=FOLDER" for name in from_hub) + ")")
    return lacking


def memory_needed(experiment: Experiment) -> float:
    """Memory of the largest run of `experiment`, in GB."""
    return max(expected_memory(experiment.config(method)) for method in experiment.methods) / 1000


def main() -> None:
    """Print what the machine has, and a table of the profiles."""
    machine = examine()
    for name, value in {
        "Python": f"{platform.python_version()}, course {__version__}",
        "cores": machine.cores,
        "bfloat16": "yes"
        if machine.bf16
        else "no: products are computed in 32 bits, and rounded where a profile asks for it",
        "GPU": machine.gpu or "none that torch can use: runs use the CPU's cores",
        "memory": f"{machine.memory:.1f} GB; as many runs at once as fit into it",
        "disk": f"{machine.disk:.0f} GB free here",
        "hub": "answers" if machine.hub else "does not answer; the embedded encoder and sentences need no hub",
    }.items():
        print(f"{name:<9} {value}")

    print(f"\n{'profile':<9} {'runs':>4} {'from nothing':>14}  {'disk':<7} {'memory a run':<12}  fits this machine")
    experiments = [load_experiment(name) for name in profile_names()]
    for experiment in sorted(experiments, key=lambda e: expected_total(e, machine.cores)):
        lacking, profile = obstacles(experiment, machine), experiment.profile
        print(
            f"{experiment.profile_name:<9} {len(experiment.configs()):>4}"
            f" {duration(expected_total(experiment, machine.cores)):>14}"
            f"  {f'{profile.disk_gb:g} GB':<7} {f'{memory_needed(experiment):.1f} GB':<12} "
            f" {'no, it needs ' + ' and '.join(lacking) if lacking else 'yes'}"
        )
    print("\nStart one with ./run_all.sh --profile NAME.")
