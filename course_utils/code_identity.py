"""Which code decides a run's numbers: the package's modules that the run uses, and the libraries they use.

A module is identified by a hash of its syntax tree, in which comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.methods import METHODS
from course_utils.paths import PROJECT, runs_folder
from course_utils.tasks import TASKS
from course_utils.text import hash_of, hash_of_json

if TYPE_CHECKING:
    from course_utils.config import RunConfig

KEEP_OLD_RUNS = "COURSE_KEEP_OLD_RUNS"
FROM_RECORDS = "COURSE_FROM_RECORDS"
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")
ROOMS = ("inputs", "tasks", "methods", "training")
PASSED_THROUGH = ("config", "runs")  # followed but not hashed: what they hold is in the run's configuration
# Modules that record and publish results, and the registries, which decide nothing about a single method or task.
RECORDERS = {"training.card", "training.provenance", "training.updates", "methods", "tasks"}
# Modules that read the data. A record names them, too, but what counts is what they give: every text and label of every
# set is in the fingerprint of the data.
READERS = {"inputs.columns", "inputs.sources", "inputs.splits", "inputs.tables"}


def keeps_old_runs() -> bool:
    """Whether runs that other code made are taken as they are: `./run_all.sh --keep-old-runs`."""
    return os.environ.get(KEEP_OLD_RUNS) == "1"


def from_records() -> bool:
    """Whether runs are read from published records, whatever code made them: `./run_all.sh --from-records`."""
    return os.environ.get(FROM_RECORDS) == "1"


@cache
def code_of(method: str, task: str = "classification") -> dict[str, str]:
    """Module or package → hash or version of all code that a run of `method` uses for `task`, as the code is now."""
    own = {TASKS[task].__module__} | {kind.__module__ for kind in type(METHODS[method]).__mro__} - {"builtins"}
    of_others = {type(other).__module__ for other in METHODS.values()} - own
    of_others |= {other.__module__ for name, other in TASKS.items() if name != task}
    hashes = _hashes([*own, "course_utils.training.train"], lambda name: _counts(name) and name not in of_others)
    packages = {name: version(name).partition("+")[0] for name in PACKAGES}
    return {name: hashed for name, hashed in hashes.items() if name not in PASSED_THROUGH} | packages


def code_behind(module: str) -> dict[str, str]:
    """Module → hash, of `module` and of all that it imports from the package, directly or not, as they are now."""
    return _hashes([module], lambda name: True)


def _hashes(modules: list[str], counts: Callable[[str], bool]) -> dict[str, str]:
    """Module → hash, of `modules` and of what they import that `counts`."""
    used: set[str] = set()
    waiting = list(modules)
    while waiting:
        if (module := waiting.pop()) not in used:
            used.add(module)
            waiting += filter(counts, imported_by(_source(module)))
    return {_short(module): digest(_source(module)) for module in sorted(used)}


def counted(code: dict[str, str]) -> dict[str, str]:
    """What counts of a record's code: all but the modules that read the data."""
    return {name: value for name, value in code.items() if name not in READERS}


def reads_as_now(code: dict[str, str]) -> bool:
    """Whether the modules that read the data are those of a record's `code`, so that the texts need no second look."""
    return all(code.get(name) == digest(_source(f"course_utils.{name}")) for name in READERS)


def differing(code: dict[str, str], other: dict[str, str]) -> list[str]:
    """Modules and packages in which two runs' code differs."""
    code, other = counted(code), counted(other)
    return sorted(name for name in code.keys() | other.keys() if code.get(name) != other.get(name))


@cache
def digest(source: str) -> str:
    """Hash of Python `source` without comments, docstrings and layout: 16 hex digits."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match getattr(node, "body", None):
            case [ast.Expr(value=ast.Constant(value=str())), *_] as body:
                del body[0]
    return hash_of(ast.dump(tree))[:16]


@cache
def imported_by(source: str) -> set[str]:
    """Modules of the package that `source` imports anywhere; imports for a type checker alone do not count."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
    return {name for name in names if name.startswith("course_utils.") and _file(name)}


def _counts(module: str) -> bool:
    name = _short(module)
    return name.partition(".")[0] in (*ROOMS, *PASSED_THROUGH) and name not in RECORDERS


def _short(module: str) -> str:
    return module.removeprefix("course_utils.")


def _file(module: str) -> Path | None:
    place = PROJECT.joinpath(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def _source(module: str) -> str:
    """Source of a module of the package, or of one from elsewhere that a method came from."""
    file = _file(module)
    return file.read_text(encoding="utf-8") if file else inspect.getsource(sys.modules[module])


# ---------------------------------------------------------------- what a step of the workflow depends on


def code_digest() -> str:
    """Hash of the package's code and templates: notebooks and report, not runs, are made again when it changes."""
    suffixes = {".py", ".toml", ".bib", ".lua", ".typ", ".css", ".html", ".md", ".jinja"}
    return content(*(path for path in sorted((PROJECT / "course_utils").rglob("*")) if path.suffix in suffixes))


def reading_code() -> str:
    """Hash of the modules that read the data: the texts are looked at again when it changes."""
    return hash_of_json({name: digest(_source(f"course_utils.{name}")) for name in sorted(READERS)})


def training_code(config: RunConfig) -> str:
    """Hash of the code that the run of `config` depends on: today's, or, where old runs are kept, its record's."""
    record = runs_folder() / config.path / "result.json"
    kept = keeps_old_runs() and record.is_file()
    code = json.loads(record.read_bytes()).get("code", {}) if kept else code_of(config.method, config.task)
    return hash_of_json(code)


def content(*files: Path) -> str:
    """Hash of what is in `files`; unlike a date, the hash also changes where an older file replaces a newer one."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
