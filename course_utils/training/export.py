"""A run's model in forms that work without this project: merged, as ONNX, or as an adapter with its base."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.errors import CourseError, explained
from course_utils.inputs.bases import head_modules
from course_utils.inputs.facts import Facts
from course_utils.paths import find_path, is_new_folder
from course_utils.runs import Run, load_model
from course_utils.tasks.classification import METRICS
from course_utils.text import code_span, template
from course_utils.training.hub import adapter_files
from course_utils.training.prediction import check_usable

if TYPE_CHECKING:
    from torch import nn

BESIDE = "base"  # folder of the base model beside an exported adapter


def write_exports(run: Run, folders: dict[str, Path]) -> None:
    """Write the model of `run` in each form ("merged", "onnx", "adapter") to its new folder, whole or not at all.

    Raises CourseError before any work where a folder or the run does not allow it.
    """
    _check(run, folders)
    model = load_model(run)
    vars(model.config).pop("quantization_config", None)  # of a base in 4 bits; the merged weights are plain
    for form, folder in folders.items():
        with _new_folder(folder.resolve()) as unfinished:
            WRITERS[form](run, model, unfinished)


def loading_code(run: Run, form: str, place: str) -> str:
    """Python that loads an export of `run` in this form from `place`, a folder or a name on the hub, and uses it."""
    base, names = run.config.base, run.task.labels
    return (
        template(Path(__file__).with_name("loading.py.jinja"))
        .render(
            form=form,
            place=place,
            hub_id=None if base.is_local else base.name,
            revision=run.result.base_model.revision,  # the hub's newest commit may be another
            labels=names,
            id2label=f"{{{', '.join(f'{label}: {json.dumps(name)}' for label, name in names.items())}}}",
            skipped=head_modules(base.without_weights(run.task)) if run.in_four_bits else [],
            pairs=run.result.data.pairs,
            max_length=run.config.max_length,
        )
        .rstrip()
    )


def _check(run: Run, folders: dict[str, Path]) -> None:
    if not run.task.has_head:
        raise CourseError(
            f"{run.name} is a language model, and export writes classifiers; load its adapter folder with PEFT, as its"
            " card says."
        )
    if not folders:
        raise CourseError("No form to write is named; type --merged FOLDER, --onnx FOLDER or --adapter FOLDER.")
    for form, folder in folders.items():
        if not is_new_folder(folder):
            raise CourseError(f"--{form} {folder}: there is something already; type the name of a new folder.")
        others = (other for name, other in folders.items() if name != form)
        if any(folder.resolve().is_relative_to(other.resolve()) for other in others):
            raise CourseError(f"--{form} {folder}: another form goes there; type another folder for each form.")
    if "adapter" in folders and run.method.is_baseline:
        raise CourseError(f"{run.name} is a run of {run.method.title}, which has no adapter; type --merged FOLDER.")
    check_usable(run)
    if "onnx" in folders and not importlib.util.find_spec("onnxscript"):
        raise CourseError("--onnx needs the package onnxscript, which is not installed; type pip install onnxscript.")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which becomes `folder` when it is whole."""
    with explained(f"{folder} cannot be written", "type the name of a folder that you may write to", OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent)
    with place as inside:
        (unfinished := Path(inside, "whole")).mkdir()
        yield unfinished
        os.rename(unfinished, folder)


def _write_merged(run: Run, model: nn.Module, folder: Path) -> None:
    model.save_pretrained(folder)
    run.config.base.tokenizer().save_pretrained(folder)
    _write_readme(run, "merged", folder)


def _write_onnx(run: Run, model: nn.Module, folder: Path) -> None:
    import torch

    texts = ["A text.", "Another text, which is longer."]
    # As the run tokenises: kinds of tokens where there are two texts.
    second = {"text_pair": texts} if run.result.data.pairs else {"return_token_type_ids": False}
    example = dict(run.config.base.tokenizer()(texts, **second, padding=True, return_tensors="pt"))
    model.config.use_cache = False  # a decoder would answer with its keys and values, too
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # torch.onnx names packages that this model does not need
    with warnings.catch_warnings(), explained(f"torch cannot write {run.name} as ONNX", "type --merged FOLDER"):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (),
            folder / "model.onnx",
            kwargs=example,
            input_names=[*example],
            output_names=["logits"],
            dynamic_shapes=dict.fromkeys(example, {0: "texts", 1: "tokens"}),
            dynamo=True,
            verbose=False,
        )
    model.config.save_pretrained(folder)
    run.config.base.tokenizer().save_pretrained(folder)  # without the padding of the example
    _write_readme(run, "onnx", folder)


def _write_adapter(run: Run, model: nn.Module, folder: Path) -> None:
    for file in adapter_files(run):
        copy = folder / file.relative_to(run.folder / "adapter")
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, copy)
    if (base := run.config.base).is_local:
        start = base.load(run.task)
        run.task.initialise_head(start, run.config.seed)
        start.save_pretrained(folder / BESIDE)
        base.tokenizer().save_pretrained(folder / BESIDE)
        file = folder / "adapter_config.json"
        # With the dot it is no name on the hub, where a stranger's model could answer to it.
        named = json.loads(file.read_text("utf-8")) | {"base_model_name_or_path": f"./{BESIDE}", "revision": None}
        file.write_text(json.dumps(named, indent=2) + "\n", encoding="utf-8")
    card = run.card()
    for local in (run.config.base_model, run.config.data):
        if find_path(local):  # a file or folder of this machine: its name alone
            card = card.replace(local, Path(local).name)
    before, _, section = card.partition("## Usage\n")
    heading = "## Comparison with Other Methods"
    usage = _usage(run, "adapter")
    (folder / "README.md").write_text(before + usage + heading + section.partition(heading)[2], encoding="utf-8")


WRITERS: dict[str, Callable[[Run, nn.Module, Path], None]] = {
    "merged": _write_merged,
    "onnx": _write_onnx,
    "adapter": _write_adapter,
}


def _write_readme(run: Run, form: str, folder: Path) -> None:
    text = template(Path(__file__).with_name("export.md.jinja")).render(
        form=form,
        method=run.method,
        in_four_bits=run.in_four_bits,
        base=_facts(run),
        accuracies=[
            f"{METRICS['accuracy'].exact(of_set.accuracy)} on {of_set.n:,} texts, {run.result.data.titles[name]}"
            for name, of_set in run.result.metrics.items()
        ],
        seed=run.config.seed,
        class_names=run.task.class_names,
        usage=_usage(run, form),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _usage(run: Run, form: str) -> str:
    """The section of a README that says how to load this form."""
    base = run.config.base
    return template(Path(__file__).with_name("usage.md.jinja")).render(
        form=form,
        hub_id=None if base.is_local else base.name,
        base=_facts(run),
        code=loading_code(run, form, "."),
        precision=run.config.precision,
        truncation=run.config.truncation,
    )


def _facts(run: Run) -> Facts:
    """What is said of the base model; a folder is called by its name alone, without its path."""
    base = run.config.base
    return Facts(code_span(Path(base.name).name)) if base.is_local and not base.is_embedded else base.facts
