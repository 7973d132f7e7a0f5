"""A run's model for use without this project: merged, as ONNX, as an adapter with its base, or pushed to the hub."""

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
            if form != "adapter":
                run.config.base.tokenizer().save_pretrained(unfinished)
                (unfinished / "README.md").write_text(_rendered("export.md.jinja", run, form), encoding="utf-8")


def loading_code(run: Run, repo: str) -> str:
    """Python that loads the adapter of `run` from `repo` on the hub, and uses it."""
    return _rendered("loading.py.jinja", run, "adapter", repo).rstrip()


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
        raise CourseError(
            "--onnx needs the package onnxscript, which is not installed; type .venv/bin/python -m pip install"
            " onnxscript."
        )


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


def _write_adapter(run: Run, model: nn.Module, folder: Path) -> None:
    shutil.copytree(run.folder / "adapter", folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
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
    usage = _rendered("usage.md.jinja", run, "adapter")
    (folder / "README.md").write_text(before + usage + heading + section.partition(heading)[2], encoding="utf-8")


WRITERS: dict[str, Callable[[Run, nn.Module, Path], None]] = {
    "merged": lambda run, model, folder: model.save_pretrained(folder),
    "onnx": _write_onnx,
    "adapter": _write_adapter,
}


def _rendered(name: str, run: Run, form: str, place: str = ".") -> str:
    """The template `name` about an export of `run` in this form, which lies at `place`."""
    base = run.config.base
    # A folder is called by its name alone, without its path.
    facts = Facts(code_span(Path(base.name).name)) if base.is_local and not base.is_embedded else base.facts
    return template(Path(__file__).with_name(name)).render(
        config=run.config,
        method=run.method,
        in_four_bits=run.in_four_bits,
        form=form,
        place=place,
        base=facts,
        hub_id=None if base.is_local else base.name,
        revision=run.result.base_model.revision,  # the hub's newest commit may be another
        class_names=run.task.class_names,
        id2label=f"{{{', '.join(f'{label}: {json.dumps(name)}' for label, name in run.task.labels.items())}}}",
        head_modules=head_modules(base.without_weights(run.task)) if run.in_four_bits else [],
        pairs=run.result.data.pairs,
        accuracies=[
            f"{METRICS['accuracy'].exact(of_set.accuracy)} on {of_set.n:,} texts, {run.result.data.titles[name]}"
            for name, of_set in run.result.metrics.items()
        ],
    )


# ---------------------------------------------------------------- to the hub


def check_pushable(run: Run, repo: str) -> None:
    """Raise CourseError where the adapter of `run` could not be used from the hub, or `repo` is no name there."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise CourseError(f"{repo!r} is no name on the hub ({error}); type OWNER/NAME.") from None
    base = run.config.base
    if not run.task.has_head:
        raise CourseError(f"{run.name} is a language model; push sends classifiers.")
    if run.method.is_baseline:
        raise CourseError(
            f"{run.name} is a run of {run.method.title}, which has no adapter; push a run with an adapter."
        )
    if base.is_local:
        where = "which this project makes from a package" if base.is_embedded else "a folder of this machine"
        raise CourseError(
            f"{run.name} adapts the base model {base.name!r}, {where}, so nobody could load the adapter from the"
            " hub; train on a base model of the hub, such as -p base_model=distilbert-base-uncased, and push that run."
        )
    check_usable(run)


def push(run: Run, repo: str, private: bool) -> str:
    """Write the adapter of a pushable `run` and its card to `repo` on the hub, as one commit; returns its address.

    The repository is made if there is none; `private` concerns a new one. The token is the one of HF_TOKEN, or of
    `hf auth login`. CourseError where the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi, constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise CourseError("HF_HUB_OFFLINE is set, so nothing can be pushed; unset it and type the same again.")
    if not get_token():
        raise CourseError(
            "The hub takes a push only with a token; type hf auth login, or set HF_TOKEN to a token of yours."
        )
    api = HfApi()
    try:
        repo = api.create_repo(repo, private=private or None, exist_ok=True).repo_id
        message = f"{run.method.title} adapter, seed {run.config.seed}"
        return api.upload_folder(repo_id=repo, folder_path=run.folder / "adapter", commit_message=message).commit_url
    except Exception as error:  # httpx, the hub's client and its reading of answers raise all kinds
        raise CourseError(
            f"{repo} was not written, for the hub at {constants.ENDPOINT} {_reason(error)}; nothing is lost, and the"
            " same command tries again."
        ) from error


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return (
            f"does not let this token write there ({status}): use a token with write access, or a repository of yours"
        )
    if status:
        return f"answered with an error ({status})"
    return f"did not answer as a hub does ({type(error).__name__}): check the network and HF_ENDPOINT"
