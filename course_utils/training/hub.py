"""Puts a run's adapter, with its card, on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from course_utils.errors import CourseError
from course_utils.runs import Run
from course_utils.training.prediction import check_usable


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


def adapter_files(run: Run) -> list[Path]:
    """The files that `push` writes."""
    return sorted(path for path in (run.folder / "adapter").rglob("*") if path.is_file())


def push(run: Run, repo: str, private: bool = False) -> str:
    """Write the adapter of `run` and its card to `repo` on the hub, as one commit; returns the commit's address.

    The repository is made if there is none; `private` concerns a new one. The token is the one of HF_TOKEN, or of
    `hf auth login`. CourseError where the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi, constants, get_token

    check_pushable(run, repo)
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
        return api.upload_folder(
            repo_id=repo,
            folder_path=run.folder / "adapter",
            allow_patterns=[path.relative_to(run.folder / "adapter").as_posix() for path in adapter_files(run)],
            commit_message=message,
        ).commit_url
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
