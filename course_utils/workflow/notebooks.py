"""Runs one notebook of an experiment with papermill, whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.errors import CourseError
from course_utils.report.chapters import NOTEBOOKS, notebook_names

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager
    from nbformat import NotebookNode

    from course_utils.config import Experiment, RunConfig

LOOK_AGAIN = 1  # seconds after which a client that waits for a kernel looks whether it was not woken
KERNELS = Path(__file__).parent / "kernels"  # its folder python3 says how kernel.py is started


def time_needed(name: str, experiment: Experiment, config: RunConfig | None = None) -> str:
    """How long the notebook `name` takes, in sentences, as far as this machine knows; empty where it knows nothing.

    The time of its training comes from the record of the run of `config`, that of the rest from the copy that the
    workflow executed.
    """
    import nbformat

    from course_utils.runs import find_run
    from course_utils.text import duration

    known = []
    if config:
        run = find_run(config)
        known.append(
            f"The notebook loads this chapter's training run, which took {duration(run.result.timing.train_seconds)}."
            if run
            else "The training run of this chapter is still to be made."
        )
    executed = experiment.report_folder / "notebooks" / f"{name}.ipynb"
    if executed.exists():
        seconds = nbformat.read(executed, as_version=4).metadata.papermill.duration
        known.append(f"All else took {duration(seconds)} when the workflow last ran the notebook.")
    return " ".join(known)


def run_notebook(name: str, experiment: Experiment) -> Path:
    """Run the notebook `name` for `experiment`, into reports/<experiment>/notebooks; returns the executed copy's path.

    If a kernel dies, the notebook is run once more: two kernels that start at the same moment can pick the same port.
    Where records are read, a chapter about one method is the published copy, since running it needs a run's weights.
    Raises CourseError where there is no such notebook or it does not take exactly these parameters, and papermill's
    own exception, with the traceback, where a cell fails.
    """
    import nbformat
    import papermill

    from course_utils.comparison.published import published_chapter

    known = notebook_names(experiment.methods)
    if name not in known:
        raise CourseError(f"There is no notebook {name!r}; there are {', '.join(known)}.")
    source, parameters = NOTEBOOKS / f"{name}.ipynb", {"seed": 0} | experiment.parameters
    check_parameters(source, set(parameters))
    target = experiment.report_folder / "notebooks" / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished.json")
    if copy := published_chapter(experiment, name):
        unfinished.write_bytes(copy)
        return unfinished.replace(target)
    chapter = what_fits(nbformat.read(source, as_version=4), experiment)
    for attempt in (1, 2):
        try:
            executed = papermill.execute_notebook(
                chapter,  # no path: papermill would replace the braces in the names of folders
                None,
                parameters,
                cwd=NOTEBOOKS,
                kernel_name="python3",
                kernel_manager_class=own_kernels(),
                progress_bar=False,
            )
            break
        except RuntimeError:  # of the kernel; what a cell raises comes as a PapermillExecutionError
            if attempt == 2:
                raise
    for place in ("input_path", "output_path"):  # the first holds the whole notebook
        executed.metadata.papermill.pop(place)
    nbformat.write(executed, unfinished)
    return unfinished.replace(target)


def own_kernels() -> type[AsyncKernelManager]:
    """A class of kernel managers that start our kernel, and not a kernel of the same name in the home folder.

    Their clients miss no answer. While nbclient waits for a cell, a widget's output makes it send on the socket on
    which it waits, past the code that waits. This can take away the signal of an answer that has just come (libzmq
    signals once), and nbclient would wait for ever. These clients look again every second.
    """
    from jupyter_client.channels import AsyncZMQSocketChannel
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class Channel(AsyncZMQSocketChannel):
        async def get_msg(self, timeout: float | None = None) -> Any:  # type: ignore[override]  # as its parent's
            left = math.inf if timeout is None else timeout
            while left > LOOK_AGAIN and not await self.socket.poll(1000 * LOOK_AGAIN):
                left -= LOOK_AGAIN
            return await super().get_msg(min(left, LOOK_AGAIN))

    class OwnKernels(AsyncKernelManager):
        def __init__(self, **options) -> None:
            super().__init__(**options | {"kernel_spec_manager": KernelSpecManager(kernel_dirs=[str(KERNELS)])})

        def client(self, **options) -> Any:
            return super().client(**options | {"shell_channel_class": Channel})

    return OwnKernels


def what_fits(notebook: NotebookNode, experiment: Experiment) -> NotebookNode:
    """`notebook` without the cells that are tagged for other data or another base model than the experiment's.

    A tag `only-…` names one of the conditions below; a cell stays where the conditions of all its tags hold.
    """
    from course_utils.comparison.lengths import differ_enough, text_lengths

    shared = experiment.shared
    source = shared.source
    holds: dict[str, Callable[[], bool]] = {
        "only-embedded-data": lambda: source.name == "embedded",
        "only-other-data": lambda: source.name != "embedded",
        "only-colab": lambda: False,  # nor is the workflow run there
        "only-sst2": lambda: source.name == "sst2",
        "only-rated": lambda: hasattr(source, "judged_as"),
        "only-sentiment": lambda: bool(source.further),
        "only-elsewhere": lambda: bool(source.further or shared.also_evaluate),
        "only-long": lambda: differ_enough(text_lengths(shared)),
        "only-embedded-base": lambda: shared.base_model == "embedded",
    }
    notebook.cells = [
        cell
        for cell in notebook.cells
        if all(holds[tag]() for tag in cell.metadata.get("tags", []) if tag.startswith("only-"))
    ]
    return notebook


def check_parameters(source: Path, given: set[str]) -> None:
    """Raise CourseError unless the cell tagged `parameters` sets exactly the names `given`."""
    import nbformat
    import papermill

    assigned = set(papermill.inspect_notebook(nbformat.read(source, as_version=4)))
    if assigned != given:
        raise CourseError(
            f"notebooks/{source.name} must have a cell tagged `parameters` that sets {', '.join(sorted(given))}"
            f" and nothing else; it sets {', '.join(sorted(assigned)) or 'nothing'}."
        )
