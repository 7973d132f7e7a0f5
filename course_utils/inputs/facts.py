"""What is known of a base model or of training data beyond its name, for model cards."""

from dataclasses import dataclass


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
