"""What is known of a base model or of training data beyond its name: for model cards, and its commit on the hub."""

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Facts:
    """Name in a sentence, id on the hub, licence, keys of references.bib, and limits, each of which is a sentence.

    For data also the language, the task, and an example.
    """

    name: str
    hub_id: str | None = None
    license: str | None = None
    citations: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    language: str | None = None
    task: str = "Text Classification"
    example: str = "A text like those of the training data."


@cache
def commit_on_hub(name: str, kind: str = "model", revision: str | None = None) -> str:
    """The commit of a "model" or a "dataset" of the hub, or without the hub the one that was fetched last."""
    from huggingface_hub import HfApi

    return HfApi().resolve_revision(name, repo_type=kind, revision=revision).resolved
