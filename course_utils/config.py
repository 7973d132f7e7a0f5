"""Every setting of a run, typed and checked before any work: profiles, overrides, experiments."""

from __future__ import annotations

import difflib
import json
import shlex
import tomllib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from course_utils.code_identity import from_records
from course_utils.errors import CourseError
from course_utils.host import has_bf16, processes
from course_utils.inputs.columns import Columns
from course_utils.inputs.sources import SOURCES, Files, Hub, Source, find_source
from course_utils.methods import FLOOR, METHODS
from course_utils.methods.base import Names, Settings
from course_utils.paths import PROJECT, find_path, find_typed, named_from_project, relative_to_project, reports_folder
from course_utils.tasks import TASKS
from course_utils.tasks.base import Task
from course_utils.text import and_joined, hash_of_json
from course_utils.tracking import checked_tracker

if TYPE_CHECKING:
    from course_utils.inputs.bases import Base
    from course_utils.inputs.splits import Data

PROFILES = PROJECT / "course_utils" / "profiles"
CLASSIFICATION = "classification"  # what a record that names no task is about
SMALL = 500  # training texts of a run that a notebook sets beside a training of its own
NAMES_OF_PLACES = ("base_model", "data", "also_evaluate")  # settings that can name a folder or a file


# ---------------------------------------------------------------- settings of a run


def _known(value: str, kind: str, names: Collection[str], listed: bool = True) -> str:
    if value not in names:
        all_named = (
            f"; the {kind}s are {', '.join(names)}"
            if listed
            else "; a setting of methods goes with a method, as in methods = { METHOD = { … } }"
        )
        raise ValueError(f"There is no such {kind}{_nearest(value, names)}{all_named}")
    return value


def _known_method(value: str) -> str:
    papers = {name for name, method in METHODS.items() if f"({value.lower()})" in method.description.lower()}
    if value not in METHODS and papers:  # "(SoRA)": the name that its paper has
        raise ValueError(f"There is no such method; {value!r} is {and_joined([*papers])} here")
    return _known(value, "method", METHODS)


MethodName = Annotated[str, AfterValidator(_known_method)]
MethodOrDefault = Annotated[str, AfterValidator(lambda name: name if name == "default" else _known_method(name))]
SharedName = Annotated[
    str, AfterValidator(lambda name: _known(name, "shared setting", SharedSettings.model_fields, listed=False))
]
SeedCount = Annotated[int, Field(ge=1, le=1000)]


class SharedSettings(BaseModel):
    """Settings that all methods of an experiment share, so that the methods can be compared."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    base_model: str = Field("embedded", min_length=1, description="embedded, a folder, or a hub id")
    data: str = Field(
        "embedded", min_length=1, description=f"{', '.join(SOURCES)}, hub:OWNER/NAME, a file, or a folder of files"
    )
    task: Annotated[str, AfterValidator(lambda name: _known(name, "task", TASKS))] = Field(
        CLASSIFICATION,
        description=f"what is learned: {', '.join(TASKS)}",
        exclude_if=lambda task: task == CLASSIFICATION,
    )
    text_column: str | None = Field(None, min_length=1, description="column of the texts, where it cannot be guessed")
    text_pair_column: str | None = Field(None, min_length=1, description="column of the second texts, for pairs")
    label_column: str | None = Field(None, min_length=1, description="column of the labels")
    class_names: Names = Field((), description="names of the classes, comma-separated, in the order of their labels")
    also_evaluate: str | None = Field(
        None, description="another source of the same classes to evaluate on; no text of it is trained on"
    )
    max_train: int | None = Field(None, ge=2, description="training examples at most")
    max_validation: int | None = Field(None, ge=2, description="validation examples at most")
    max_test: int | None = Field(None, ge=2, description="test examples at most")
    max_other: int | None = Field(None, ge=2, description="examples of any further set at most")
    max_length: int = Field(128, ge=8, le=512, description="tokens of a sentence at most")
    epochs: int = Field(ge=1, le=100, description="passes over the training set")
    batch_size: int = Field(16, ge=1, le=1024, description="examples a step")
    gradient_accumulation: int = Field(1, ge=1, le=1024, description="parts of a batch that are computed in turn")
    tokens_at_once: int | None = Field(None, ge=16, description="tokens of a batch that are computed at once")
    gradient_checkpointing: bool = Field(False, description="compute activations twice instead of keeping them")
    truncation: Literal["head", "head_and_tail"] = Field(
        "head",
        description="a longer text is cut to its start, or to a quarter from its start and the rest from its end",
    )
    head_learning_rate: float | None = Field(
        None, gt=0, le=1, description="peak learning rate of the head; none: the rate of the other parameters"
    )
    warmup_steps: float = Field(0.06, ge=0, description="steps of linear warm-up; below 1, a share of all steps")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="number format; auto is bf16 where the processor has it"
    )
    threads: int = Field(1, ge=1, le=256, description="threads of one run; runs go side by side")
    speedups: bool = Field(True, description="compute the same with less work (course_utils/training/speed.py)")
    checkpoint_steps: int = Field(100, ge=1, description="steps between two checkpoints")

    @field_validator(*NAMES_OF_PLACES)
    @classmethod
    def _as_seen_from_project(cls, value: str | None) -> str | None:
        return None if value is None else as_seen_from_project(value, find_path)

    @property
    def base(self) -> Base:
        """The base model."""
        from course_utils.inputs.bases import Base  # here, as it imports torch, which settings do not need

        return Base(self.base_model)

    @property
    def source(self) -> Source:
        """The source of the data."""
        labelled = TASKS[self.task].has_head
        columns = Columns(self.text_column, self.text_pair_column, self.label_column, self.class_names, labelled)
        return find_source(self.data, columns)

    @property
    def has_own_texts(self) -> bool:
        """Whether the texts come from files of the reader's own or from the hub, so that their number is not known."""
        return isinstance(self.source, Files | Hub)

    def load_task(self) -> Task:
        """What is learned, with the classes of the source; the source is read if it does not name them."""
        from course_utils.inputs.splits import class_names

        return TASKS[self.task](class_names(self.source))

    def check_task(self) -> None:
        """Raise CourseError where the base model, the methods or the settings do not fit the task."""
        task = TASKS[self.task]
        if not task.has_head:
            unread = ("text_pair_column", "label_column", "class_names", "also_evaluate", "head_learning_rate")
            if named := [name for name in unread if getattr(self, name)]:
                raise CourseError(
                    f"{named[0]}: task={self.task} reads single texts without labels; leave {named[0]} out."
                )
            if self.truncation != "head":
                raise CourseError(
                    f"truncation: task={self.task} reads a text from its beginning; leave truncation out."
                )
        if twice := next((name for name in self.class_names if self.class_names.count(name) > 1), None):
            raise CourseError(f"class_names: two classes are called {twice!r}; type a name of its own for each.")
        named = [name for name in (self.text_column, self.text_pair_column, self.label_column) if name]
        if twice := next((name for name in named if named.count(name) > 1), None):
            raise CourseError(
                f"text_column, text_pair_column, label_column: {twice!r} is named for two of them; name another column"
                " for one."
            )
        if not self.base.is_embedded:
            self._check_base()
        task().check(self.base)

    def _check_base(self) -> None:
        """Raise CourseError where the base model is not there or is no encoder or decoder of texts."""
        try:
            config = self.base.config()
        except CourseError as error:
            if self.base.is_local:
                raise
            raise CourseError(f"{error} A folder {self.base_model} is not there either.") from None
        if config.is_encoder_decoder or not hasattr(config, "vocab_size"):
            raise CourseError(
                f"base_model={self.base_model}: a model of the type {config.model_type} is neither an encoder nor a"
                " decoder of texts; type another base model, or base_model=embedded."
            )

    def files(self) -> list[Path]:
        """The reader's own files that are read: a change to one means that runs must be made again."""
        sources = [self.source, *([find_source(self.also_evaluate)] if self.also_evaluate else [])]
        return sorted([*self.base.files(), *(file for source in sources for file in source.files())])

    def load_data(self) -> Data:
        """The data of a run; CourseError if they cannot be loaded, or do not fill a batch."""
        from course_utils.inputs.splits import load_data

        self.check_task()
        maxima = {name: getattr(self, name) for name in ("max_train", "max_validation", "max_test", "max_other")}
        data = load_data(self.source, also_evaluate=self.also_evaluate, **maxima)
        if self.batch_size > (size := len(data.sets["train"])):
            raise CourseError(
                f"batch_size: {self.batch_size} is more than the {size} training examples; "
                f"type -p batch_size={size} or less, or a larger max_train."
            )
        if self.batch_size % (together := processes() * self.gradient_accumulation):
            raise CourseError(
                f"batch_size: {self.batch_size} cannot be shared out equally among {processes()} processes and"
                f" gradient_accumulation={self.gradient_accumulation} parts; type -p"
                f" batch_size={together * ceil(self.batch_size / together)}, or other numbers of processes and parts."
            )
        if self.warmup_steps >= (steps := self.epochs * ceil(size / self.batch_size)):
            raise CourseError(
                f"warmup_steps: {self.warmup_steps:g} is not less than the {steps} steps of a run; type fewer, or a"
                " share of all steps such as -p warmup_steps=0.06."
            )
        if not TASKS[self.task].has_head and "text_pair" in data.sets["train"]:
            raise CourseError(
                f"data={self.data} holds pairs, and task={self.task} reads single texts; type -p text_column=NAME."
            )
        if self.truncation != "head" and "text_pair" in data.sets["train"]:
            raise CourseError("truncation: a pair is cut at the end of its longer text; type -p truncation=head.")
        return data


def as_seen_from_project(value: str, find: Callable[[str], Path | None]) -> str:
    """The folder or file that `find` finds for `value`, as a record names it; any other `value` unchanged."""
    place = None if value in (*SOURCES, "", "none", "None") else find(value)
    return named_from_project(place) if place else value


class RunConfig(SharedSettings):
    """Everything that decides what a run computes; two runs of equal configuration give equal numbers."""

    experiment: str
    study: str = Field("main", pattern=r"^[a-z0-9][a-z0-9.+-]*$")
    method: MethodName
    seed: int = Field(ge=0, lt=2**31, description="first weights of head and adapter, data order and dropout")
    final: bool = Field(True, description="false for a trial of a search: no test predictions")
    settings: SerializeAsAny[Settings]
    track: str | None = Field(None, exclude=True, description="a tracker that also gets what the run logs")

    @field_validator("settings", mode="before")
    @classmethod
    def _settings_of_method(cls, value: Any, info) -> Any:
        method = METHODS.get(info.data.get("method"))
        return method.Settings.model_validate(value) if method and isinstance(value, dict) else value

    def check_task(self) -> None:
        """Raise CourseError where the base model, the method or the settings do not fit the task."""
        if METHODS[self.method] is FLOOR and not TASKS[self.task].has_head:
            raise CourseError(
                f"methods: {METHODS[self.method].title} trains a head, and task={self.task} has none; leave the method"
                " out, as every run is compared with the base model before training."
            )
        super().check_task()

    @property
    def path(self) -> str:
        """Folder of the run below the folder of all runs."""
        return f"{self.experiment}/{self.study}/{self.method}/seed-{self.seed}"

    @property
    def digest(self) -> str:
        """Hash of the configuration."""
        return hash_of_json(self.model_dump(mode="json"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunConfig) and self.digest == other.digest  # whatever tracks the run

    def __hash__(self) -> int:
        return hash(self.digest)


def differing_settings(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Setting → its two values, where two runs differ; of two methods, only the settings that both have.

    Experiment, study, method and seed name a run, and are no settings here.
    """
    first, second = ({**dict(config), **dict(config.settings)} for config in (one, other))
    named = ("experiment", "study", "method", "seed", "settings", "track")
    return {
        name: (value, second[name])
        for name, value in first.items()
        if name not in named and name in second and value != second[name]
    }


# ---------------------------------------------------------------- profiles


class Study(BaseModel):
    """Runs beside the main ones: what they change, and for which methods and how many seeds.

    A study that `varies` some settings is a point of an axis; the first of them is the factor. Its runs differ from
    those of the study `beside` in these settings, and in nothing else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    seeds: int | None = Field(None, ge=1)
    final: bool = True
    settings: dict[SharedName, Any] = {}
    methods: dict[MethodName, dict[str, Any]]
    varies: tuple[str, ...] = ()
    beside: str = "main"


class Search(BaseModel):
    """A search for each method's learning rate: one trial per rate and seed, judged on validation alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: dict[SharedName, Any] = {}  # in which a trial differs from the main runs
    seeds: int = Field(1, ge=1)  # the same for every method
    rates: dict[MethodName, list[Annotated[float, Field(gt=0, le=1)]]]  # method → grid

    @property
    def studies(self) -> dict[str, Study]:
        """A study for every rate, named after the rate: lr-1e-3."""
        every_rate = sorted({rate for grid in self.rates.values() for rate in grid})
        return {
            _name_of(rate): Study(
                title=f"Trial of the learning rate {rate:g}",
                seeds=self.seeds,
                final=False,
                settings=self.settings,
                methods={name: {"learning_rate": rate} for name, grid in self.rates.items() if rate in grid},
            )
            for rate in every_rate
        }


def _name_of(rate: float) -> str:
    mantissa, exponent = f"{rate:e}".split("e")
    return f"lr-{float(mantissa):g}e{int(exponent)}"


class Profile(BaseModel):
    """What a file of `profiles/` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    description: str
    disk_gb: float = Field(gt=0)
    seeds: SeedCount
    settings: dict[SharedName, Any]
    methods: dict[MethodOrDefault, dict[str, Any]] = Field(min_length=1)  # default is for those that are not named
    found_by: dict[MethodName, str] = {}  # method → fingerprint of the trial that found its learning rate
    search: Search | None = None
    studies: dict[str, Study] = {}


def profile_names() -> list[str]:
    """Names of the profiles."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def _read_profile(name: str) -> Profile:
    known = profile_names()
    if name not in known:
        raise CourseError(f"There is no profile {_shown(name)}{_nearest(name, known)}; there are {', '.join(known)}.")
    path = PROFILES / f"{name}.toml"
    try:
        profile = Profile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        served = [*METHODS] if "default" in profile.methods else []
        for methods in ({}, {"methods": served}):  # its settings for named methods, for all others and in studies
            Experiment(name, profile, methods).configs()
        Experiment(name, profile).check_factors()
        return profile
    except CourseError as error:
        raise CourseError(f"{relative_to_project(path)}: {error}") from None
    except ValidationError as error:
        raise CourseError(f"{relative_to_project(path)}: {explain_validation(error)}") from None
    except ValueError as error:  # of TOML or UTF-8
        raise CourseError(f"{relative_to_project(path)} is not valid TOML: {error}.") from None


# ---------------------------------------------------------------- experiments


@dataclass(frozen=True)
class Experiment:
    """A profile and its overrides: the runs that are compared with each other."""

    profile_name: str
    profile: Profile
    overrides: dict[str, Any] = field(default_factory=dict)
    seed_count: int | None = None
    track: str | None = None

    @property
    def name(self) -> str:
        """The profile's name, with a hash of the overrides if there are any."""
        if not self.overrides:
            return self.profile_name
        return f"{self.profile_name}+{hash_of_json(self.overrides)[:8]}"

    @property
    def report_folder(self) -> Path:
        """Where its report is bound."""
        return reports_folder() / self.name

    @property
    def classifies(self) -> bool:
        """Whether its runs classify texts; the notebooks are about such runs."""
        return TASKS[self.shared.task].has_head

    @property
    def seeds(self) -> list[int]:
        """Seeds of the main runs."""
        return list(range(self.seed_count or self.profile.seeds))

    @property
    def methods(self) -> list[str]:
        """Names of the methods, from `-p methods=` or else from the profile, in the order of every table.

        Of the profile's, a method that trains a head alone is left out where the task has none.
        """
        if chosen := self.overrides.get("methods"):
            return [name for name in METHODS if name in chosen]
        task = TASKS.get(self.overrides.get("task") or self.profile.settings.get("task", CLASSIFICATION))
        has_head = task is None or task.has_head
        return [name for name in METHODS if name in self.profile.methods and (has_head or METHODS[name] is not FLOOR)]

    @property
    def parameters(self) -> dict[str, Any]:
        """What a notebook needs, beside the seed, to find this experiment again."""
        chosen = {"seeds": self.seed_count, "track": self.track}
        overrides = self.overrides | {name: value for name, value in chosen.items() if value}
        return {"profile": self.profile_name, "overrides": overrides}

    @cached_property
    def studies(self) -> dict[str, Study]:
        """What is run beside the main runs: the trials of the learning-rate search, then the side studies."""
        return (self.profile.search.studies if self.profile.search else {}) | self.profile.studies

    @property
    def shared(self) -> RunConfig:
        """Configuration of the first main run, for the settings that all main runs share."""
        return self.config(self.methods[0])

    @property
    def all_studies(self) -> list[str]:
        """Names of the studies, the main one included."""
        return ["main", *self.studies]

    def config(self, method: str, seed: int = 0, study: str = "main") -> RunConfig:
        """Resolved configuration of one run."""
        for kind, name, known in (("method", method, self.methods), ("study", study, self.all_studies)):
            if name not in known:
                chosen = f" -p methods={name} chooses it." if kind == "method" and name in [*METHODS] else ""
                raise CourseError(
                    f"Profile {self.profile_name!r} has no {kind} {_shown(name)}; it has {', '.join(known)}.{chosen}"
                )
        beside = self.studies.get(study)
        if beside and method not in beside.methods:
            about = ", ".join(beside.methods)
            raise CourseError(
                f"Study {study!r} of profile {self.profile_name!r} does not train {method!r}; it trains {about}."
            )
        shared, own = self.settings_of(method)
        if beside:  # overrides do not change what a study sets, as its name promises
            shared, own = shared | beside.settings, own | beside.methods[method]
        if shared.get("precision", "auto") == "auto":
            shared["precision"] = "bf16" if has_bf16() else "fp32"
        try:
            return RunConfig(
                experiment=self.name,
                study=study,
                method=method,
                seed=seed,
                final=beside.final if beside else True,
                settings=METHODS[method].Settings(**own),
                track=self.track,
                **shared,
            )
        except ValidationError as error:
            where = f"studies.{study}, {method}: " if study in self.profile.studies else ""
            raise CourseError(f"{where}{explain_validation(error)}") from None

    def small(self, method: str, seed: int = 0, change: dict[str, Any] | None = None) -> RunConfig:
        """The run of `method` and `seed` on the first 500 training texts; the main run where that has no more.

        With a `change` of some settings, named as for -p, it is a run of an experiment of its own.
        """
        main, study = self.config(method, seed), self.studies.get(f"size-{SMALL}")
        as_planned: dict[str, Any] = {"max_train": min(main.max_train or SMALL, SMALL)}
        if main.max_train and main.max_train <= SMALL:
            if not change:
                return main
        elif study and method in study.methods:
            if not change:
                return self.config(method, seed, f"size-{SMALL}")
            as_planned = study.settings | study.methods[method]  # differs from the study's run in the change alone
        changed = self.parameters["overrides"] | as_planned | (change or {})
        return load_experiment(self.profile_name, changed).config(method, seed)

    def configs(self) -> list[RunConfig]:
        """Configurations of every run, those of side studies included."""
        for study, spec in self.studies.items():
            if spec.varies:
                self._check_varies(study, spec)
        main = [self.config(m, s) for s in self.seeds for m in self.methods]
        beside = [
            self.config(method, seed, study)
            for study, spec in self.studies.items()
            for seed in self.seeds[: spec.seeds]
            for method in self.methods
            if method in spec.methods
        ]
        return main + beside

    def _check_varies(self, study: str, spec: Study) -> None:
        """Refuse a study that is called as the main runs are, or differs from that beside it in more than it says."""
        if study == "main":
            raise CourseError("studies.main: the main runs are called so; give the study another name.")
        for method in (name for name in self.methods if name in spec.methods):
            known = [*SharedSettings.model_fields, *METHODS[method].Settings.model_fields]
            if unknown := [name for name in spec.varies if name not in known]:
                raise CourseError(
                    f"studies.{study}: varies names {unknown[0]}, which {method} does not have"
                    f"{_nearest(unknown[0], known)}; name settings."
                )
            own, other = self.config(method, study=study), self.config(method, study=spec.beside)
            if more := [name for name in differing_settings(own, other) if name not in spec.varies]:
                raise CourseError(
                    f"studies.{study}: {method} differs from {spec.beside} in {', '.join(more)}, too; "
                    f"take out what differs, or name it in varies."
                )

    def check_factors(self) -> None:
        """Refuse a study of a method that the profile lacks, and one that does not vary its factor.

        Overrides may do either: they leave methods out, and give the main runs the setting of a study.
        """
        search = self.profile.search
        served = {f"studies.{study}": [*spec.methods] for study, spec in self.profile.studies.items()}
        for where, methods in (served | {"search.rates": [*search.rates] if search else []}).items():
            if "default" not in self.profile.methods and (unknown := [m for m in methods if m not in self.methods]):
                raise CourseError(
                    f"{where}: the profile has no method {unknown[0]}; add [methods.{unknown[0]}], or take it out here."
                )
        for study, spec in self.profile.studies.items():
            if search and study in search.studies:
                raise CourseError(f"studies.{study}: a trial of the search is called so; give the study another name.")
            if spec.seeds and spec.seeds > self.profile.seeds:
                raise CourseError(
                    f"studies.{study}: seeds is {spec.seeds}, and the main runs have {self.profile.seeds}; a study has"
                    " no more."
                )
            for method in (name for name in spec.methods if name in self.methods):
                if spec.varies and spec.varies[0] not in differing_settings(
                    self.config(method, study=study), self.config(method, study=spec.beside)
                ):
                    raise CourseError(
                        f"studies.{study}: varies {spec.varies[0]}, in which its runs of {method} do not differ from"
                        f" {spec.beside}; give them another, or take {method} out of the study."
                    )

    @property
    def description(self) -> str:
        """What is run: the profile's words, unless settings differ from the profile's."""
        usual = self.name == self.profile_name and len(self.seeds) == self.profile.seeds
        return self.profile.description if usual else f"The profile {self.profile_name}, with other settings."

    @cached_property
    def takers(self) -> dict[str, list[str]]:
        """Override → who takes it: method names, or "every run"."""
        return {name: _takers(name, self.methods) for name in self.overrides}

    def settings_of(self, method: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the profile and the overrides set for the main runs of `method`: shared settings, and its own."""
        shared, own = dict(self.profile.settings), self.profile_settings(method)
        for name, value in sorted(self.overrides.items(), key=lambda item: "." in item[0]):  # METHOD.NAME wins
            if name in SharedSettings.model_fields:
                shared[name] = value
            elif method in self.takers[name]:
                own[name.rpartition(".")[2]] = value
        return shared, own

    def profile_settings(self, method: str) -> dict[str, Any]:
        """What the profile sets for `method`, by its name or by default."""
        if method in self.profile.methods:
            return dict(self.profile.methods[method])
        if "default" not in self.profile.methods:
            raise CourseError(
                f"methods: profile {self.profile_name!r} has no entry for {method!r}; add [methods.{method}] or"
                f" [methods.default] with a learning_rate to the profile, or leave the method out."
            )
        fields = METHODS[method].Settings.model_fields
        return {name: value for name, value in self.profile.methods["default"].items() if name in fields}


def load_experiment(profile: str = "quick", overrides: dict[str, Any] | None = None) -> Experiment:
    """The experiment of `profile` with `overrides` (name → value), all names, types and ranges checked.

    A name is that of a shared setting (`epochs`), of a setting of every method that has it (`rank`) or of one method
    (`METHOD.NAME`). Values may be text, as typed on a command line. `seeds` sets the number of seeds, `methods` the
    methods that are run, `track` a tracker.
    Raises CourseError, naming the nearest valid name or what is allowed.
    """
    loaded = _read_profile(profile)
    overrides = {} if overrides is None else overrides
    if not isinstance(overrides, dict) or not all(isinstance(name, str) for name in overrides):
        raise CourseError(
            f"overrides: {_shown(overrides)} does not map names to values; write, for example, {{'rank': 4}}."
        )
    overrides = dict(overrides)
    seeds, track = _seed_count(overrides.pop("seeds", None)), checked_tracker(overrides.pop("track", None))
    chosen = {"methods": _method_names(overrides.pop("methods"))} if "methods" in overrides else {}
    methods = Experiment(profile, loaded, chosen).methods
    typed = {name: _typed(name, value, methods) for name, value in sorted(overrides.items())}
    experiment = Experiment(profile, loaded, typed | chosen, seeds, track)
    experiment.configs()  # ranges and contradictions
    return experiment


def command_of(experiment: Experiment, *more: str) -> str:
    """The command that makes `experiment` in the way in which this process reads runs, as a reader types it."""
    words = options_of(experiment.profile_name, experiment.parameters["overrides"])
    return shlex.join(["./run_all.sh", *words, *["--from-records"] * from_records(), *more])


# ---------------------------------------------------------------- overrides: what -p takes


def parse_overrides(pairs: list[str]) -> dict[str, str]:
    """["rank=4", …] → {"rank": "4", …}; files and folders as seen from the project, wherever they were typed."""
    overrides: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name:
            raise CourseError(f"-p {pair!r}: type -p NAME=VALUE, for example -p rank=4.")
        if not pair.isprintable():
            raise CourseError(f"-p {pair!r} holds a character that cannot be shown; leave that character out.")
        if name in overrides:
            raise CourseError(f"{name} is given twice, as {overrides[name]!r} and {value!r}; type it once.")
        overrides[name] = as_seen_from_project(value, find_typed) if name in NAMES_OF_PLACES else value
    return overrides


def as_typed(value: Any) -> str:
    """`value` as -p takes it."""
    return ",".join(value) if isinstance(value, list | tuple) else "none" if value is None else str(value)


def options_of(profile: str, overrides: dict[str, Any]) -> list[str]:
    """The words of a command line that name the experiment of `profile` with `overrides`; `shlex.join` quotes them."""
    pairs = [f"{name}={as_typed(value)}" for name, value in overrides.items()]
    return ["--profile", profile, *(word for pair in pairs for word in ("-p", pair))]


def _takers(name: str, methods: list[str]) -> list[str]:
    if name == "methods" or name in SharedSettings.model_fields:
        return ["every run"]
    setting = name.rpartition(".")[2]
    owned = [m for m in methods if setting in METHODS[m].Settings.model_fields]
    return [m for m in owned if name in (setting, f"{m}.{setting}")]


def _typed(name: str, value: Any, methods: list[str]) -> Any:
    """`value` as the setting `name` of one of `methods` holds it, so that equal settings are written alike."""
    takers = _takers(name, methods)
    if not takers:
        own = {m: [f"{m}.{s}" for s in METHODS[m].Settings.model_fields] for m in methods}
        owner, _, setting = name.rpartition(".")
        if owner in own and setting in SharedSettings.model_fields:
            raise CourseError(f"{setting} is shared by all methods; type -p {setting}=VALUE instead of {name}.")
        unknown = f"There is no setting {_shown(name)}"
        if known := KNOWN_ELSEWHERE.get(setting):
            raise CourseError(f"{unknown}; its name here is {known}.")
        if owner in own:
            raise CourseError(f"{unknown}{_nearest(name, own[owner])}; {owner} has {', '.join(own[owner])}.")
        if owner in METHODS:
            raise CourseError(
                f"{name}: {owner} is not among the methods; type -p methods={','.join([*methods, owner])}."
            )
        of_any = [field for method in methods for field in METHODS[method].Settings.model_fields]
        plain = [*SharedSettings.model_fields, *dict.fromkeys(of_any), "seeds", "methods", "track"]
        raise CourseError(
            f"{unknown}{_nearest(name, [*plain, *sum(own.values(), [])])}; the settings are {', '.join(plain)}"
            " (METHOD.NAME sets it for one method)."
        )
    model = SharedSettings if takers == ["every run"] else METHODS[takers[0]].Settings
    setting = name.rpartition(".")[2]
    if value in ("none", "None") and model.model_fields[setting].default is None:
        return None
    try:
        checked = model.__pydantic_validator__.validate_assignment(model.model_construct(), setting, value)
    except ValidationError as error:
        raise CourseError(explain_validation(error)) from None
    return json.loads(json.dumps(getattr(checked, setting)))


# What other programs call it → what it is called here.
KNOWN_ELSEWHERE = {
    **dict.fromkeys(("r", "lora_r", "lora_rank"), "rank"),
    **dict.fromkeys(("lr", "rate"), "learning_rate"),
    **dict.fromkeys(("num_train_epochs", "num_epochs", "n_epochs"), "epochs"),
    **dict.fromkeys(
        ("per_device_train_batch_size", "train_batch_size", "bs"), "batch_size, the examples of a whole step"
    ),
    **dict.fromkeys(("model_name_or_path", "model", "base", "base_model_name_or_path"), "base_model"),
    **dict.fromkeys(("dataset", "dataset_name", "train_file", "data_dir"), "data"),
    **dict.fromkeys(("max_seq_length", "max_seq_len"), "max_length"),
    **dict.fromkeys(("bf16", "fp16", "dtype", "torch_dtype"), "precision, which takes auto, bf16 or fp32"),
    "warmup_ratio": "warmup_steps, which below 1 is a share of all steps",
    "gradient_accumulation_steps": "gradient_accumulation, which splits a batch and leaves batch_size unchanged",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "modules": "target_modules",
    "max_steps": "epochs, and max_train for the number of examples",
    "save_steps": "checkpoint_steps",
    "label_names": "class_names",
    "seed": "seeds, the number of seeds: seeds=3 makes the runs of seeds 0, 1 and 2; train --seed K makes one run",
}


def _method_names(value: Any) -> list[str]:
    """The methods that `-p methods=NAME,NAME` or a list names, in the order of every table."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names:
        raise CourseError(f"methods: {_shown(value)} is no list of methods; type -p methods=NAME,NAME.")
    try:
        wanted = {_known_method(str(name)) for name in names}
    except ValueError as error:
        raise CourseError(f"methods: {_shown(value)} is not allowed. {error}.") from None
    return [name for name in METHODS if name in wanted]


def _seed_count(value: Any) -> int | None:
    try:
        return TypeAdapter(SeedCount | None).validate_python(value)
    except ValidationError:
        raise CourseError(
            f"seeds: {_shown(value)} is no number of seeds; type a whole number from 1 to 1000."
        ) from None


# ---------------------------------------------------------------- what is said of a wrong setting


def _nearest(name: Any, valid: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.7)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


def explain_validation(error: ValidationError) -> str:
    """One sentence per fault: which setting, what was given, what is allowed."""
    faults = []
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"] if part != "[key]") or "settings"
        if fault["type"] == "missing":
            faults.append(f"{name} is missing.")
            continue
        words = fault["msg"].removeprefix("Value error, ").replace("Input should be", "It must be")
        words = PLAIN_WORDS.get(fault["type"], words)
        faults.append(f"{name[:100]}: {_shown(fault['input'])} is not allowed. {words}.")
    return " ".join(faults)


PLAIN_WORDS = {
    "extra_forbidden": "There is no such setting",
    "string_too_short": "It must not be empty",
    "bool_parsing": "It must be true or false",
    "int_parsing": "It must be a whole number",
    "int_type": "It must be a whole number",
    "int_from_float": "It must be a whole number",
    "float_parsing": "It must be a number",
    "float_type": "It must be a number",
}
