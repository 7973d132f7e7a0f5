"""Whatever a reader types, writes or leaves in a folder: it works, or one sentence says what to type instead.

COURSE_EXAMPLES sets how many inputs every property is tried on (here 50, in the long form thousands).
"""

import contextlib
import io
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pandas
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from small import ADAPTER, GATED, MULTIPLIED, SENTIMENT, keys

from course_utils import config, runs
from course_utils.__main__ import command_names, main
from course_utils.comparison import baselines
from course_utils.comparison import results as comparison
from course_utils.config import RunConfig, SharedSettings, explain_validation, load_experiment
from course_utils.errors import CourseError
from course_utils.inputs import bases, embedded, sources
from course_utils.inputs.bases import Base
from course_utils.inputs.splits import load_data
from course_utils.methods import METHODS
from course_utils.methods.base import Settings
from course_utils.paths import PROJECT, write_whole
from course_utils.training import train
from course_utils.training.trainer import warmup_steps
from course_utils.workflow import check, doctor, notebooks, start

tried = settings(
    max_examples=int(os.environ.get("COURSE_EXAMPLES", 50)),
    derandomize="COURSE_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

# ---------------------------------------------------------------- what may be typed


def mostly(usual, other):
    """Three in four are `usual`: with more wrong at once, the first fault would hide all others."""
    return st.integers(0, 3).flatmap(lambda n: usual if n else other)


TEXTS = st.sampled_from(
    ["", " ", "none", "None", "nan", "inf", "-inf", "1e400", "1e-400", "9" * 5000, "-1", "0", "1", "4", "8", "0.5"]
    + ["1e-3", "1_0", "0x8", "１", "٤", "²", "true", "maybe", "auto", "bf16", "embedded", "sst2", "q_lin,v_lin", ","]
    + ["classifier", "all-linear", "~nobody", "..", "/", "/dev/null", "/proc", "a" * 300, "a/" * 3000, "{rank}", "🙂"]
    + ["$(id)", "'\"\\", "a\nb", "a\0b", "\udcff", "\ufeffrank", "rank=4", "--force", "[4]", '{"rank": 4}', "lorra"]
) | st.text(max_size=20)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=5) | TEXTS
USUAL = st.sampled_from([1, 2, 4, 8, "2", "4", "0.5", 0.25, "1e-3", "embedded", "q_lin", "true", "none", "fp32"])
VALUES = USUAL | st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
)
OF_METHODS = [(m, s) for m in METHODS for s in METHODS[m].Settings.model_fields]
KNOWN = [*SharedSettings.model_fields, *dict.fromkeys(s for _, s in OF_METHODS), "seeds", "methods"]
KNOWN += [f"{m}.{s}" for m, s in OF_METHODS]
MISTYPED = st.builds(
    lambda name, at, letter: name[: at % len(name)] + letter + name[at % len(name) + 1 :],
    st.sampled_from(KNOWN), st.integers(0, 99), st.sampled_from(["", "x", ".", " ", "_", "é"]),
)  # fmt: skip
NAMES = mostly(st.sampled_from(KNOWN), MISTYPED | TEXTS)
PROFILES = st.sampled_from(["quick", "full", "sst2", "Smoke", "smoke.toml", "../profiles/smoke"]) | VALUES
OVERRIDES = st.dictionaries(NAMES, mostly(USUAL, VALUES), max_size=3)


def assert_says(error: CourseError):
    text = str(error)
    assert text.strip() and "Traceback" not in text and "pydantic" not in text
    assert len(text) < 1500, "nobody reads that much"


# ---------------------------------------------------------------- settings


@pytest.mark.slow
@tried
@given(mostly(st.just("smoke"), PROFILES), mostly(OVERRIDES, VALUES))
@example("smoke", {"warmup_steps": "inf"})
@example("smoke", {"seeds": float("inf")})
@example("smoke", {"base_model": "~nobody-of-this-name"})
@example("smoke", {"data": "a" * 5000})
@example("a" * 5000, {})
@example("smoke", {4: 5})
@example("smoke", '{"rank": 4}')
@example("smoke", {".rank": 4})
def test_any_profile_and_overrides(profile, overrides):
    try:
        experiment = load_experiment(profile, overrides)
    except CourseError as error:
        event("refused")
        return assert_says(error)
    event("taken")
    again = load_experiment(**json.loads(json.dumps(experiment.parameters)))
    assert again.name == experiment.name and again.configs() == experiment.configs()
    assert experiment.name.partition("+")[0] in config.profile_names()
    for name in experiment.takers.keys() - {"methods"}:
        takers = experiment.takers[name]
        for method in experiment.methods if takers == ["every run"] else takers:
            taken = experiment.config(method)
            part = taken if takers == ["every run"] else taken.settings
            assert hasattr(part, name.rpartition(".")[2])
            assert warmup_steps(taken, 7) < 7


@pytest.fixture(scope="module")
def full():
    return load_experiment("full")


@pytest.mark.slow
@tried
@given(
    mostly(st.sampled_from([*METHODS]), VALUES),
    mostly(st.integers(0, 9), VALUES),
    mostly(st.sampled_from(["main", "rank-1", "lr-1e-3"]), VALUES),
)
@example(ADAPTER, True, "sparsity-3.0")
def test_any_method_seed_and_study(full, method, seed, study):
    try:
        found = full.config(method, seed, study)
    except CourseError as error:
        event("refused")
        return assert_says(error)
    event("taken")
    assert found.path == f"full/{study}/{method}/seed-{found.seed}" and 0 <= found.seed < 2**31


def test_a_side_study_keeps_what_it_varies():
    full = load_experiment("full", {"rank": 16, "learning_rate": 1e-4, "epochs": 5, "batch_size": 32})
    assert full.config(ADAPTER).settings.rank == 16 and full.config(ADAPTER).epochs == 5
    varied = full.config(ADAPTER, 0, "rank-1")
    assert (varied.settings.rank, varied.settings.learning_rate, varied.batch_size) == (1, 1e-4, 32)
    trial = full.config(MULTIPLIED, 0, "lr-3e-2")
    assert (trial.settings.learning_rate, trial.settings.rank, trial.epochs) == (0.03, 16, 5)
    assert load_experiment("sst2", {"epochs": 5}).config(MULTIPLIED, 0, "lr-1e-2").epochs == 1


FIELDS = [*RunConfig.model_fields, *(f"settings.{name}" for name in METHODS[GATED].Settings.model_fields)]


@tried
@example(ADAPTER, {"settings.target_modules": "\udcff"}, None)
@given(
    st.sampled_from([*METHODS]),
    st.dictionaries(mostly(st.sampled_from(FIELDS), NAMES), VALUES, max_size=2),
    mostly(st.none(), st.sampled_from([*RunConfig.model_fields])),
)
def test_any_record_of_a_run(method, changes, missing):
    """What reads a result.json that somebody edited, or an experiment's parameters."""
    record = load_experiment("smoke", {"methods": method}).config(method).model_dump(mode="json")
    for name, value in changes.items():
        owner, _, field = name.rpartition(".")
        place = record["settings"] if owner == "settings" and isinstance(record["settings"], dict) else record
        place[field] = value
    record.pop(missing, None)
    try:
        read = RunConfig.model_validate(record)
    except ValidationError as error:
        event("refused")
        return assert_says(CourseError(explain_validation(error)))
    event("taken")
    assert isinstance(read.settings, Settings)
    assert RunConfig.model_validate_json(read.model_dump_json()) == read


LINES = (config.PROFILES / "full.toml").read_text(encoding="utf-8").splitlines()
PIECES = ["=", "seeds", "[settings]", f"[methods.{ADAPTER}]", "[studies.main]", "{", "3"]
PIECES += ["nan", "inf", '"x"', "true", "[["]
EDITS = st.lists(
    st.tuples(st.integers(0, len(LINES) - 1), st.sampled_from(["drop", "double", "swap", "value", "name"]))
    .flatmap(lambda edit: st.tuples(st.just(edit), st.sampled_from(PIECES) | st.text(max_size=8))),
    min_size=1, max_size=3,
)  # fmt: skip


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "PROFILES", tmp_path)
    return tmp_path


@pytest.mark.slow
@tried
@given(edits=EDITS)
@example(edits=[((8, "drop"), ""), ((8, "value"), "nan")])
def test_any_edit_of_a_profile(profiles, edits):
    lines = list(LINES)
    for (at, edit), text in edits:
        name, equals, value = lines[at].partition("=")
        lines[at] = {
            "drop": "", "double": f"{lines[at]}\n{lines[at]}", "swap": text,
            "value": f"{name}{equals} {text}", "name": f"{text}{equals}{value}",
        }[edit]  # fmt: skip
    (profiles / "mine.toml").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        experiment = load_experiment("mine")
    except CourseError as error:
        event("refused")
        return assert_says(error)
    event("taken")
    assert len({run.path for run in experiment.configs()}) == len(experiment.configs())


# ---------------------------------------------------------------- the command line


class AtWork(Exception):
    """Raised in place of the work that a command line has asked for."""


def _stop(*arguments, **_):
    raise AtWork(*arguments)


@pytest.fixture
def no_work(tmp_path, monkeypatch):
    """Every command is checked as ever, and then stops where it would train, fetch, read runs or start Snakemake."""
    for variable in ("COURSE_RUNS", "COURSE_REPORTS"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr(start, "only_one_at_a_time", contextlib.nullcontext)
    monkeypatch.setattr(start, "end_marked_processes", lambda: None)
    works = [(start, "follow"), (start, "check_inputs"), (embedded.Bundle, "fetch")]
    works += [(doctor, "main"), (train, "train"), (comparison, "read_runs"), (check, "check_inputs")]
    works += [(notebooks, "check_parameters"), (baselines, "make_baselines")]
    for module, work in works:
        monkeypatch.setattr(module, work, _stop)


def outcome(arguments: list[str]) -> AtWork | None:
    """The work that `arguments` ask for; None where they were refused, or asked for help, as they must be."""
    arguments = [argument.replace("\0", "") for argument in arguments]  # no system hands on a NUL
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except AtWork as work:
            return work
        except SystemExit as stop:
            status = stop.code
    if status == 0:
        assert "Usage" in out.getvalue()
    else:
        assert status == 2 and not out.getvalue()
        typed = "".join(arguments)
        assert err.getvalue().startswith("error: ") and len(err.getvalue()) < 1500 + 2 * len(typed)
        assert err.getvalue().count("\n") == 1 or "\n" in typed
    return None


OPTIONS = ["--profile", "-p", "--seeds", "--cores", "--dry-run", "--force", "--method", "--seed", "--study", "--json"]
PAIRS = st.builds("{}={}".format, NAMES, mostly(USUAL, TEXTS))
WORDS = (
    st.sampled_from([*OPTIONS, "--figure", "--help", "--", "-", "--nonsense", "smoke", "full", ADAPTER, "0", "2"])
    | PAIRS
    | TEXTS
)
STARTS = mostly(
    st.sampled_from([["run", "--profile", "smoke"], ["train", "--profile", "full", "--method", ADAPTER], ["report"]]),
    st.sampled_from([[command] for command in command_names()]) | st.lists(TEXTS, max_size=1),
)


@pytest.mark.slow
@tried
@given(start=STARTS, words=mostly(PAIRS.map(lambda pair: ["-p", pair]), st.lists(WORDS, max_size=3)))
@example(start=["run"], words=["--cores", "9" * 5000])
@example(start=["run"], words=["-p", "rank=4", "-p", "rank=8"])
@example(start=["run"], words=["-p", "seeds=4", "--seeds", "8"])
@example(start=["run"], words=["-p", "data=nowhere"])
@example(start=["run"], words=["-p", "base_model=./nowhere"])
@example(start=["train", "--method", ADAPTER, "--profile", "full"], words=["--study", "sparsity-3.0"])
@example(start=["predict"], words=["a" * 5000, "good"])
@example(start=["report"], words=["--figure", "figure.docx"])
def test_any_command_line(no_work, start, words):
    event("at work" if outcome([*start, *words]) else "refused")


@pytest.mark.slow
@tried
@given(names=st.lists(st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=","), min_size=1)))
@example(names=["🙂", "{rank}", "'\"\\", "%s", "$(id)", "- x: [", "\x7f"])
def test_what_is_typed_is_what_snakemake_hears(no_work, names):
    """The start gives the settings to Snakemake, which reads them its own way."""
    from snakemake.cli import parse_config

    pairs = [f"target_modules={','.join(names)}", "rank=2"]
    work = outcome(["run", "--profile", "smoke", "-p", pairs[0], "-p", pairs[1]])
    if work is not None:
        command = work.args[0]
        heard = parse_config(command[command.index("--config") + 1 :])
        assert heard["overrides"] == pairs and heard["profile"] == "smoke"


@pytest.mark.parametrize("variable", ["COURSE_RUNS", "COURSE_REPORTS"])
@pytest.mark.parametrize("place", ["a file", "below a file", "/proc/nowhere"])
def test_a_place_that_cannot_be_written_to_is_named_before_any_work(no_work, tmp_path, monkeypatch, variable, place):
    (tmp_path / "a file").touch()
    places = {"a file": tmp_path / "a file", "below a file": tmp_path / "a file" / "x"}
    monkeypatch.setenv(variable, str(places.get(place, place)))
    assert outcome(["run", "--profile", "smoke"]) is None
    with pytest.raises(CourseError, match=f"set {variable} to a folder"):
        start.run("smoke", [], None, False, False, [])


def test_a_place_that_snakemake_cannot_name_is_refused(no_work, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "{rank}"))
    with pytest.raises(CourseError, match="a name without them"):
        start.run("smoke", [], None, False, False, [])


def test_assets_in_a_place_of_no_use_are_named(tmp_path, monkeypatch):
    (tmp_path / "a file").touch()
    for place in (tmp_path / "a file", tmp_path / "a file" / "x"):
        monkeypatch.setenv("COURSE_ASSETS", str(place))
        with pytest.raises(CourseError, match="set COURSE_ASSETS to a folder that you may write to"):
            _ = Base("embedded").location


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("COURSE_RUNS", "")
    assert runs.runs_folder() == PROJECT / "runs"


@tried
@given(st.binary(max_size=50) | VALUES.map(repr).map(str.encode) | st.just(b'{"schema_version": 1}'))
def test_any_record_in_a_runs_folder(content):
    with folder_of({"result.json": content}) as folder, pytest.raises(CourseError, match="delete its folder"):
        runs.read_run(folder)


# ---------------------------------------------------------------- folders of the reader's own


def few_sentences(name, columns):
    frame = pandas.DataFrame({"text": [f"{name} {n} of ten" for n in range(10)]})
    return frame.assign(mean_rating=[4.0 * (-1) ** n for n in range(10)])[columns]


@pytest.fixture(autouse=True)
def small_assets(monkeypatch):
    """The embedded sentences, a handful of each: reading them all would cost more than all else here."""
    monkeypatch.setattr(sources, "embedded_sentences", few_sentences)


SENTENCE = st.sampled_from(
    ["", " ", "a", "é", ":-)", '"', '"quoted', "a\0b", "\ufeffa", "a\u2028b", "a\x85b", "NaN", "None", "1", "0", "İ is"]
    + ["x " * 10_000, "x" * 10_000, "The same one .", "the same one", "\ud83d\ude00", "tab\\t", "#", "\v\f"]
) | st.text(st.characters(exclude_characters="\t\r\n"), max_size=30)
BROKEN = st.sampled_from(["a\tb", "a\rb", "a\nb", "\t", "\ud83d"])
LABEL = st.sampled_from(["0", "1", "0", "1", " 1", "1 "])
NO_LABEL = st.sampled_from(["1.0", "-1", "2", "", "positive", "１", "True", "nan"])
HEADER = st.sampled_from(["sentence\tlabel", "label\tsentence", "index\tsentence\tlabel", " sentence \tlabel"])
NO_HEADER = st.sampled_from(
    ["sentence\tlabel\tlabel", "Sentence\tLabel", "sentence,label", "sentence", "", "label", "sentence\tlabel\t"]
)
END = st.sampled_from(["\n", "\r\n", "\n\n"])
ENCODING = st.sampled_from(["utf-8", "utf-8-sig"])


@st.composite
def tables(draw):
    """The bytes of a file, some of them with something wrong."""
    wrong = draw(mostly(st.just(False), st.just(True)))
    header, end, encoding = draw(HEADER), draw(END), draw(ENCODING)
    rows = draw(st.lists(st.tuples(SENTENCE, LABEL), max_size=12))
    good = draw(st.integers(0 if wrong else 20, 60))  # enough of them for a set to hold both classes
    rows += [(f"a film called name{n} and its {'joy' if n % 2 else 'pain'}{n} .", str(n % 2)) for n in range(good)]
    if wrong:
        header = draw(HEADER | NO_HEADER)
        end = draw(END | st.just("\r"))
        encoding = draw(ENCODING | st.sampled_from(["utf-16", "latin-1", "cp1252"]))
        rows += draw(st.lists(st.tuples(SENTENCE | BROKEN, LABEL | NO_LABEL), max_size=3))
    cells = [
        [{"sentence": text, "label": label}.get(column.strip(), "x") for column in header.split("\t")]
        for text, label in rows
    ]
    text = end.join([header, *("\t".join(row) for row in cells)]) + draw(st.sampled_from([end, "", end + end]))
    content = text.encode(encoding, "replace")
    return content[: len(content) - (draw(st.integers(0, 500)) if wrong else 0)]


FILES = mostly(
    st.fixed_dictionaries({"train.tsv": tables(), "dev.tsv": tables()}, optional={"test.tsv": tables()}),
    st.dictionaries(
        st.sampled_from(["train.tsv", "dev.tsv", "test.tsv"]), tables() | st.binary(max_size=60) | st.none(), max_size=3
    ),
)


@contextlib.contextmanager
def folder_of(files: dict[str, bytes | None]):
    """None stands for a folder where a file is expected."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            place = Path(folder, name)
            place.mkdir() if content is None else place.write_bytes(content)
        yield Path(folder)


@pytest.mark.slow
@tried
@given(files=FILES, limits=mostly(st.just({}), st.dictionaries(st.just("max_train"), st.integers(2, 10**30))))
def test_any_data_folder(files, limits):
    with folder_of(files) as folder:
        try:
            loaded = load_data(str(folder), **limits)
        except CourseError as error:
            event("refused")
            assert str(folder) in str(error)
            return assert_says(error)
    event("taken")
    texts = {name: keys(frame) for name, frame in loaded.sets.items()}
    train, validation = texts.pop("train"), texts.pop("validation")
    assert not train & validation and not (train | validation) & set().union(*texts.values())
    for name, frame in loaded.sets.items():
        assert set(frame.label) == {0, 1} and "" not in keys(frame)
        assert name == "train" or frame.example_id.is_unique


def test_what_is_no_data_folder_is_named(tmp_path):
    (tmp_path / "reviews.doc").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for wrong in (tmp_path / "loop", tmp_path / "reviews.doc" / "x", "a" * 5000, "a\0b"):
        with pytest.raises(CourseError, match="^data=.* there is no such file or folder; type embedded"):
            load_data(str(wrong))
    with pytest.raises(CourseError, match=r"^data=.*reviews.doc: the ending .doc is not known.*\.csv"):
        load_data(str(tmp_path / "reviews.doc"))
    with pytest.raises(
        CourseError, match=r"the folder holds loop and reviews.doc, and no file train with the ending .tsv"
    ):
        load_data(str(tmp_path))
    with pytest.raises(CourseError, match="^also_evaluate=nowhere: there is no such file or folder"):
        load_data("embedded", also_evaluate="nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "train.tsv").touch(mode=0)
    with pytest.raises(CourseError, match=r"train.tsv cannot be read \(Permission denied\)"):
        load_data(str(tmp_path))
    tmp_path.chmod(0)
    try:
        with pytest.raises(CourseError, match="Permission denied|no such folder"):
            load_data(str(tmp_path))
    finally:
        tmp_path.chmod(stat.S_IRWXU)


MODEL_FILES = st.fixed_dictionaries(
    {
        "config.json": st.sampled_from([b"{}", b"[]", b"{", b'{"model_type": "bert"}', b'{"model_type": "gpt9"}'])
        | st.binary(max_size=30),
        "model.safetensors": st.binary(max_size=30),
        "tokenizer.json": st.sampled_from([b"{}", b"null"]) | st.binary(max_size=30),
    }
)


@settings(tried, max_examples=tried.max_examples // 5)
@given(files=MODEL_FILES)
def test_any_model_folder(files):
    with folder_of(files) as folder:
        for load in (Base.tokenizer, lambda base: base.load(SENTIMENT)):
            with pytest.raises(CourseError, match="^base_model=.* (could not be loaded|git lfs pull)"):
                load(Base(str(folder)))


def test_the_weights_of_something_else_are_no_encoder(tmp_path):
    """transformers would leave the encoder at random, and only say so in a table that scrolls by."""
    import torch
    from safetensors.torch import save_file

    shutil.copy(Path(Base("embedded").location, "config.json"), tmp_path)
    save_file({"other.weight": torch.zeros(3)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CourseError, match="do not fit its config.json.* tensors are missing .*distilbert.embeddings"):
        Base(str(tmp_path)).load(SENTIMENT)


def test_a_text_longer_than_the_model_reads_is_refused():
    import torch
    from transformers import AutoModelForSequenceClassification, DistilBertConfig, RobertaConfig

    # RoBERTa never reads the first two of its positions.
    for kind, positions in ((DistilBertConfig, 64), (RobertaConfig, 62)):
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(kind(max_position_embeddings=64))
        bases.check_length(model, positions)
        with pytest.raises(CourseError, match=f"max_length: {positions + 1} is more than the {positions}"):
            bases.check_length(model, positions + 1)


def test_four_bits_without_a_kernel_are_explained(monkeypatch):
    import bitsandbytes

    monkeypatch.setattr(bitsandbytes.functional, "quantize_4bit", _stop)
    with pytest.raises(CourseError, match="QLoRA needs them; python -m bitsandbytes"):
        Base("embedded").load(SENTIMENT, four_bit=True)


def test_what_is_written_to_a_pipe_leaves_the_pipe_there(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, "an answer")
    assert os.read(reader, 100) == b"an answer" and pipe.is_fifo()
