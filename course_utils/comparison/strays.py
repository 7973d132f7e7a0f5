"""Refuses to compare runs that differ in something that no study declares."""

from collections.abc import Iterable
from typing import Any

from course_utils.code_identity import counted
from course_utils.config import SharedSettings, differing_settings
from course_utils.errors import CourseError
from course_utils.runs import Run


def differences(run: Run, other: Run) -> list[str]:
    """In what two runs differ beside method and seed: settings that both have, data, base model, code.

    A difference of the data counts where `max_train` does not explain it. Between two methods only shared settings
    count.
    """
    settings = differing_settings(run.config, other.config)
    one, two = run.result, other.result
    same_data = one.data.fingerprint == two.data.fingerprint
    if "max_train" in settings:
        same_data = _beside_training(run) == _beside_training(other)
    code = [name for name in counted(one.code).keys() & two.code.keys() if one.code[name] != two.code[name]]
    return [
        *(name for name in settings if run.config.method == other.config.method or name in SharedSettings.model_fields),
        *(["the data"] if not same_data else []),
        *(["the base model"] if one.base_model != two.base_model else []),
        *(f"the code of {name}" for name in sorted(code)),
    ]


def _beside_training(run: Run) -> dict[str, Any]:
    data = run.result.data.model_dump(exclude={"fingerprint", "titles"})  # a title says nothing of the texts
    return data | {"sizes": {name: size for name, size in data["sizes"].items() if name != "train"}}


def refuse_strays(runs: Iterable[Run], varies: tuple[str, ...] = ()) -> None:
    """Raise CourseError where two of `runs` differ in more than method, seed and what `varies`."""
    firsts: dict[str, Run] = {}
    for run in runs:
        firsts.setdefault(run.config.method, run)
        for other in {id(first): first for first in (next(iter(firsts.values())), firsts[run.config.method])}.values():
            if strays := [name for name in differences(run, other) if name not in varies]:
                raise CourseError(
                    f"{run.name} differs from {other.name} in {', '.join(strays)}, and is not compared with it; "
                    f"delete {run.name} and type ./run_all.sh."
                )
