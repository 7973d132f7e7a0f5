"""What the Snakefile needs to know of a step: what the step depends on, and what it is given."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.code_identity import code_of, keeps_old_runs
from course_utils.paths import PROJECT
from course_utils.text import hash_of_json

if TYPE_CHECKING:
    from course_utils.config import RunConfig


def code_digest() -> str:
    """Hash of the package's code and templates: notebooks and report, not runs, are made again when it changes."""
    suffixes = {".py", ".toml", ".bib", ".lua", ".typ", ".css", ".html", ".md", ".jinja"}
    return content(*(path for path in sorted((PROJECT / "course_utils").rglob("*")) if path.suffix in suffixes))


def training_code(record: Path, config: RunConfig) -> str:
    """Hash of the code that the run of `config` depends on: today's, or, where old runs are kept, its `record`'s."""
    kept = keeps_old_runs() and record.is_file()
    code = json.loads(record.read_bytes()).get("code", {}) if kept else code_of(config.method, config.task)
    return hash_of_json(code)


def content(*files: Path) -> str:
    """Hash of what is in `files`; unlike a date, the hash also changes where an older file replaces a newer one."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
