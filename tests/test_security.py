"""Nothing is let in: what comes in a file is data, it is shown as text, and no secret goes out.

docs/promises.md says what is promised, and names the tests.
"""

import csv
import hashlib
import io
import json
import os
import pickle
import re
import shlex
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import html5lib
import nbformat
import pyarrow
import pyarrow.parquet
import pypandoc
import pytest
import torch
import typst
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from small import ADAPTER, FEW, SENTIMENT
from whole_project import SECRETS, copy_project, start

from course_utils.__main__ import main
from course_utils.comparison.results import read_runs
from course_utils.comparison.tables import write_comparison
from course_utils.config import load_experiment, options_of
from course_utils.errors import CourseError
from course_utils.inputs import embedded
from course_utils.inputs.bases import Base
from course_utils.inputs.splits import load_data
from course_utils.paths import PROJECT
from course_utils.report import bind, exhibits
from course_utils.report.chapters import elements
from course_utils.report.display import show_document, show_markdown, show_table
from course_utils.runs import read_run
from course_utils.text import one_line, plain_title
from course_utils.training import train
from course_utils.workflow import notebooks
from course_utils.workflow.fork_server import SOCKET, fork_server

pytestmark = pytest.mark.slow

HTML = "{http://www.w3.org/1999/xhtml}"
NASTY = [
    "a <script>alert(1)</script>",
    "b <img src=x onerror=alert(1)>",
    "c </style><style>@import url(https://evil.example)</style>",
    "d </td></table><b>bold",
    "e {{ 7*7 }} {% raw %}",
    '#import "x"; f',
    'g #read("/etc/passwd")',
    "h $ x $ and $$ y $$",
    "i `r system('id')`",
    'j `#read("x")`{=typst} and `<b>x</b>`{=html}',
    "```{=html} k",
    "l [link](javascript:alert(1)) ![x](https://evil.example/x.png)",
    "--- m",
    "n \u202ereversed\u202c",
    "o \x1b[31mred\x1b[0m \x1b]0;title\x07",
    "p @key [@nobody1999]",
    "<div onclick=alert(1)>q</div>",
    "::: r {.figure}",
    "s & &amp; &#60;b&#62;",
    "t | u || v \\| w",
    '=HYPERLINK("https://evil.example")',
    "\\input{/etc/passwd} x",
]
# No name of a folder can hold a slash, and Snakemake refuses braces.
NAME = "<img src=x onerror=alert(1)> $x$ `id` [l](javascript:alert(1)) $(touch pwned) '\";touch pwned; #"


def write_glue(folder: Path) -> Path:
    """SST-2's layout: training sentences that mean no harm, and a dev set that does."""
    folder.mkdir(parents=True)
    rows = {
        "train": [f"film {n} is {'very ' * (n % 7)}{'good' if n % 2 else 'bad'} ." for n in range(90)],
        "dev": NASTY,
    }
    for name, sentences in rows.items():
        lines = [f"{sentence}\t{n % 2}" for n, sentence in enumerate(sentences)]
        (folder / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *lines, ""]), encoding="utf-8")
    return folder


class Touch:
    """What a pickle makes a file of when it is loaded in full."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def planted(tmp_path):
    """A function that plants a pickle that makes a file when it is loaded; and that file."""
    pwned = tmp_path / "pwned"

    def plant(path: Path) -> None:
        torch.save({"weight": Touch(pwned)}, path)
        torch.load(path, weights_only=False)["weight"].close()
        assert pwned.exists()  # it would, so that its absence tells something
        pwned.unlink()

    return plant, pwned


# ---------------------------------------------------------------- data is shown as text


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A run on a folder with a nasty name and nasty sentences, its notebooks and its report.

    Experiment, run, parsed page, the Typst source of the PDF, and the folder that holds all that was written.
    """
    place = tmp_path_factory.mktemp("shown")
    folder = write_glue(place / "data" / f"{NAME}{{=typst}}")
    outputs, typeset = [], []
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in SECRETS.items():
            patch.setenv(variable, value)
        patch.setenv("COURSE_RUNS", str(place / "out" / "runs"))
        patch.setenv("COURSE_REPORTS", str(place / "out" / "reports"))
        patch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
        experiment = load_experiment("smoke", {"data": str(folder), "max_other": 16, "precision": "fp32"})
        run = train.train(experiment.config(ADAPTER))
        notebooks.run_notebook("01_data", experiment)

        patch.setattr("IPython.display.display", lambda data, raw, metadata: outputs.append((data, metadata or {})))
        results = read_runs(experiment)
        for exhibit in (exhibits.what_was_run, exhibits.accuracies, exhibits.other_domains, exhibits.agreements):
            exhibit(results)
        sentences = load_data(run.config.data).sets["test"]
        show_table(sentences[["text", "label"]], "All of them.")
        show_markdown(f"A set is called *{run.result.data.titles['test']}*.")  # as chapters do
        show_document(run.card())
        displayed = [new_output("display_data", data, metadata=metadata) for data, metadata in outputs]
        cell = new_code_cell("results", execution_count=1, outputs=displayed)
        written = experiment.report_folder / "notebooks" / "06_comparison.ipynb"
        nbformat.write(new_notebook(cells=[new_markdown_cell("# Comparison"), cell]), written)

        pandoc = bind._pandoc

        def remembered(document, target, *options):
            text = pandoc(document, target, *options)
            typeset.extend([text] if target == "typst" else [])
            return text

        patch.setattr(bind, "_pandoc", remembered)
        write_comparison(results)
        html, pdf = bind.build_report(results)
    assert pdf.read_bytes().startswith(b"%PDF")
    page = html5lib.HTMLParser(strict=True).parse(html.read_text("utf-8"))
    return experiment, run, page, typeset[0], place / "out"


def assert_harmless(tree):
    for element in tree.iter():
        tag = str(element.tag).removeprefix(HTML)
        assert tag not in {"script", "iframe", "object", "embed", "form", "base", "link", "b"}, tag
        for name, value in element.attrib.items():
            assert not name.startswith("on") and "javascript:" not in value.lower(), (tag, name, value)
            if name in ("href", "src"):
                assert value.startswith(("#", "data:", "https://")) and "evil" not in value, value


def test_the_report_shows_sentences_and_names_as_text(shown):
    _, _, page, _, _ = shown
    assert_harmless(page)
    cells = {" ".join("".join(cell.itertext()).split()) for cell in page.iter(f"{HTML}td")}
    assert {one_line(sentence) for sentence in NASTY} <= cells
    everything = "".join(page.itertext())
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", everything)
    assert not [style for style in page.iter(f"{HTML}style") if re.search("url\\(|@import", style.text)]
    assert "https://evil.example/x.png" not in [image.get("src") for image in page.iter(f"{HTML}img")]


def test_nothing_of_the_data_is_typst_code(shown):
    _, _, _, typeset, _ = shown
    body = typeset[typeset.index("outline(title: none") :]
    assert "etc/passwd" in body
    assert not re.search(r'(?<!\\)#(read|import "x"|eval|include)', re.sub(r"```.*?```|`[^`]*`", "", body, flags=re.S))


def test_notebooks_show_sentences_as_text_in_jupyterlab(shown):
    experiment, _, _, _, out = shown
    seen = 0
    for path in (out / "reports" / experiment.name / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if "text/html" in data:
                    assert_harmless(html5lib.parseFragment(data["text/html"]))
                if "text/markdown" in data and output.metadata.get("course", {}).get("kind") != "document":
                    tree = json.loads(pypandoc.convert_text(data["text/markdown"], "json", format="gfm"))
                    assert not list(elements(tree, "RawInline")) + list(elements(tree, "RawBlock"))
                    addresses = [link["c"][2][0] for kind in ("Link", "Image") for link in elements(tree, kind)]
                    assert not [address for address in addresses if "evil" in address or "javascript" in address]
                    seen += "alert" in data["text/markdown"]
    assert seen >= 2  # the examples of 01_data, and the table of all


def test_a_card_holds_names_as_text(shown):
    _, run, _, _, _ = shown
    _, head, body = run.card().split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "peft"
    tree = json.loads(pypandoc.convert_text(body, "json", format="gfm"))
    assert not list(elements(tree, "RawInline")) + list(elements(tree, "RawBlock"))
    addresses = [link["c"][2][0] for link in elements(tree, "Link")]
    assert addresses and all(address.startswith("https://huggingface.co/") for address in addresses)
    assert run.config.data in [code["c"][1] for code in elements(tree, "Code")]
    for block in re.findall(r"```python\n(.*?)```", body, re.DOTALL):
        compile(block, "card", "exec")


def test_the_table_for_spreadsheets_holds_no_formula(shown):
    experiment, _, _, _, out = shown
    for path in (out / "reports" / experiment.name).glob("*.csv"):
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8"))):
            for cell in row:
                assert not cell.startswith(("=", "+", "-", "@", "\t")) or float(cell) < 0, (path.name, cell)


def assert_no_secret(folder, number, secrets):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > number
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path


def test_no_token_and_no_home_is_in_what_was_written(shown):
    assert_no_secret(shown[4], 8, SECRETS.values())


def test_no_token_and_no_home_is_in_what_a_whole_run_leaves(smoke):
    for folder, number in (("runs", 30), ("reports", 10), ("logs", 10)):
        assert_no_secret(smoke.project / folder, number, SECRETS.values())
    assert not [secret for secret in SECRETS.values() if secret in smoke.output]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("My reviews 2024_v2", "My reviews 2024_v2"),
        ("Überblick-文", "Überblick-文"),
        (NAME, "img src x onerror alert 1 x id l javascript alert 1 touch pwned touch pwned"),
        ("=2+5", "2+5"),
        ("_x_ __y__", "x y"),
        ("\x1b[31m\u202e***", "31m"),
        ("{{}}", "untitled"),
    ],
)
def test_a_title_is_plain(name, title):
    assert plain_title(name) == plain_title(title) == title


def test_what_is_printed_cannot_steer_a_terminal(tmp_path, capsys):
    assert main(["predict", str(tmp_path / "\x1b[31mred\x07"), "good"]) == 2
    card = tmp_path / "README.md"
    claims = "# \x1b[2J\n\n- **Rank\x1b[31m (r):** 8\x1b[2J\n- **Total Parameters:** 12,345\n"
    card.write_text(f"---\nbase_model: a\x1b[31m\nlibrary_name: \x1b[31m\n---\n{claims}")
    config = {"peft_type": "LORA\x1b[2J", "base_model_name_or_path": "\x1b[2J", "target_modules": ["\x1b[2J"], "r": 4}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    main(["audit", str(card)])
    printed = capsys.readouterr()
    assert "12,345" in printed.out and "\x1b" not in printed.out + printed.err and "\x07" not in printed.err


# ---------------------------------------------------------------- no code comes in a file


def test_a_pickle_in_a_checkpoint_is_not_run(runs_in, planted, tiny, tmp_path, monkeypatch):
    plant, pwned = planted
    settings = FEW | {"max_train": 96, "epochs": 2, "base_model": tiny.name}
    config = load_experiment("smoke", settings).config(ADAPTER)
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(train, "_predict", None)  # it fails after the last checkpoint
        train.train(config)
    checkpoints = runs_in / config.path.replace("seed-0", ".seed-0.unfinished") / "checkpoints"
    first, last = sorted(checkpoints.iterdir(), key=lambda folder: int(folder.name.partition("-")[2]))
    states = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
    for name in states:
        assert (last / name).is_file()
        shutil.copytree(last, tmp_path / name / last.name)
        plant(tmp_path / name / last.name / name)
        assert train.last_checkpoint(tmp_path / name) is None
    plant(last / "optimizer.pt")
    for name in ("training_args.bin", "pytorch_model.bin"):
        plant(first / name)

    loaded, load = set(), torch.load

    def checked(file, *arguments, weights_only=None, **options):
        assert weights_only is True, file
        loaded.add(Path(file).relative_to(checkpoints).as_posix())
        return load(file, *arguments, weights_only=True, **options)

    monkeypatch.setattr(torch, "load", checked)
    for name in ("load", "loads"):
        monkeypatch.setattr(pickle, name, lambda *_, **__: pytest.fail("a pickle is loaded"))
    run = train.train(config)  # from the checkpoint before the spoilt one
    assert loaded == {f"{last.name}/optimizer.pt", *(f"{first.name}/{name}" for name in states)}
    assert not pwned.exists() and run.result.metrics["test"].n == 32


@pytest.fixture
def model_folder(tmp_path):
    """A copy of the embedded model to spoil."""
    return Path(shutil.copytree(Base("embedded").location, tmp_path / "model"))


def test_weights_come_from_safetensors_alone(model_folder, planted):
    plant, pwned = planted
    plant(model_folder / "pytorch_model.bin")
    name = str(model_folder)
    expected = Base("embedded").load(SENTIMENT).base_model.state_dict()
    found = Base(name).load(SENTIMENT).base_model.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
    (model_folder / "model.safetensors").rename(model_folder / "other.safetensors")
    with pytest.raises(CourseError, match="no file named model.safetensors"):
        Base(name).load(SENTIMENT)
    (model_folder / "other.safetensors").unlink()
    with pytest.raises(CourseError, match=r"must hold config.json and \*.safetensors"):
        Base(name).load(SENTIMENT)
    assert not pwned.exists()


def test_a_model_s_own_code_is_not_run(model_folder, tmp_path, monkeypatch):
    pwned = tmp_path / "pwned"
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # whoever sits at the terminal says yes to all
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    (model_folder / "evil.py").write_text(f"open({str(pwned)!r}, 'w')\nclass It: pass\n")
    classes = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification")

    def spoil(file, **changes):
        path = model_folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    spoil("config.json", auto_map=dict.fromkeys(classes, "evil.It"))
    spoil("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.It", "evil.It"]})
    Base(str(model_folder)).load(SENTIMENT)
    Base(str(model_folder)).tokenizer()
    spoil("tokenizer_config.json", tokenizer_class="ItTokenizer")
    spoil("config.json", model_type="it")
    base = Base(str(model_folder))
    for load in (base.config, lambda: base.without_weights(SENTIMENT), lambda: base.load(SENTIMENT), base.tokenizer):
        with pytest.raises(CourseError, match="custom code") as error:
            load()
        assert "\n" not in str(error.value) and "trust_remote_code" not in str(error.value)
    assert not pwned.exists()


@pytest.fixture
def foreign(shown, tmp_path, monkeypatch):
    """A copy of a run, and a function that records its files as they are now: a stranger's, and consistent."""
    folder = Path(shutil.copytree(shown[1].folder, tmp_path / "foreign"))
    monkeypatch.chdir(tmp_path)

    def seal(**changes):
        record = json.loads((folder / "result.json").read_text())
        record.pop("checksum", None)  # a record may be without one
        record["config"]["data"] = "embedded"
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != "result.json"]
        record["files"] = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        }
        (folder / "result.json").write_text(json.dumps(record | changes))

    seal()
    return folder, seal


def test_a_stranger_s_run_is_data(foreign, planted, capsys):
    folder, seal = foreign
    plant, pwned = planted
    assert main(["predict", str(folder), "good"]) == 0
    weights = folder / "adapter" / "adapter_model.safetensors"
    plant(folder / "adapter" / "adapter_model.bin")
    seal()
    assert main(["predict", str(folder), "good"]) == 0  # the safetensors, not the pickle
    weights.unlink()
    seal()
    assert main(["predict", str(folder), "good"]) == 2
    assert "has no weights" in capsys.readouterr().err
    record = json.loads((folder / "result.json").read_text())
    for title in ("<b>x</b>", "[x](javascript:alert(1))", "=1+1"):
        seal(data=record["data"] | {"titles": record["data"]["titles"] | {"test": title}})
        assert main(["predict", str(folder), "good"]) == 2
        assert "is damaged" in capsys.readouterr().err
    assert not pwned.exists()


def test_a_stranger_s_adapter_imports_nothing(foreign, tmp_path, monkeypatch, capsys):
    folder, seal = foreign
    (tmp_path / "evil.py").write_text("open('pwned', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = folder / "adapter" / "adapter_config.json"
    config = json.loads(path.read_text()) | {"megatron_config": {"x": 1}, "megatron_core": "evil"}
    path.write_text(json.dumps(config | {"auto_mapping": {"parent_library": "evil", "base_model_class": "x"}}))
    seal()
    assert main(["predict", str(folder), "good"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: PEFT cannot load the adapter in ") and "potential security risk" in said
    assert not (tmp_path / "pwned").exists()


def test_a_table_of_predictions_unpickles_nothing(foreign, planted):
    folder, _ = foreign
    _, pwned = planted
    extension = {"name": "arrow.py_extension_type", "metadata": pickle.dumps(Touch(pwned))}
    metadata = {f"ARROW:extension:{key}": value for key, value in extension.items()}
    field = pyarrow.field("set", pyarrow.int64(), metadata=metadata)
    table = pyarrow.table([pyarrow.array([1])], schema=pyarrow.schema([field]))
    pyarrow.parquet.write_table(table, folder / "predictions.parquet")
    assert read_run(folder).predictions()["set"].tolist() == [1]
    assert not pwned.exists()


# ---------------------------------------------------------------- archives


def test_an_archive_writes_only_what_is_asked_of_it(tmp_path):
    """`embedded` reads members by name; nothing is unpacked to the paths that an archive names."""

    def add(package, name, content=b"", link=None):
        member = tarfile.TarInfo(name)
        member.size = len(content)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, link
        package.addfile(member, io.BytesIO(content))

    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as package:
        for name in embedded.SENTENCES.values():
            add(package, f"hutto_ICWSM_2014/{name}_GroundTruth.txt", b"1\t2.5\tgood\r\n")
            add(package, f"hutto_ICWSM_2014/{name}_anonDataRatings.txt", b"1\t2.5\t0\t[2, 3]\r\n")
        add(package, "../../evil", b"x")
    resources = "root/additional_resources"
    for linked in (False, True):
        archive, folder = tmp_path / f"{linked}.tar.gz", tmp_path / "deep" / str(linked)
        folder.parent.mkdir(exist_ok=True)
        with tarfile.open(archive, "w:gz") as package:
            add(package, "root/LICENSE.txt", b"MIT")
            add(package, "../../evil", b"x")
            add(package, str(tmp_path / "evil"), b"x")
            add(package, f"{resources}/link", link="/etc")
            add(package, f"{resources}/link/evil", b"x")
            if linked:
                add(package, f"{resources}/hutto_ICWSM_2014.tar.gz", link="/etc/passwd")
            else:
                add(package, f"{resources}/hutto_ICWSM_2014.tar.gz", inner.getvalue())
        if linked:
            with pytest.raises(KeyError):  # a link leads to members of the archive and nowhere else
                embedded._write_sentences(archive, folder)
        else:
            embedded._write_sentences(archive, folder)
            written = {"LICENSE.txt", *(f"{name}.parquet" for name in embedded.SENTENCES)}
            assert {path.name for path in folder.iterdir()} == written
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name] and not Path("/etc/evil").exists()


# ---------------------------------------------------------------- the report's own doors


def test_the_pdf_reads_no_file_beside_it(tmp_path, monkeypatch):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "scratch").mkdir()
    settings = {"title": "T", "subtitle": "", "author": "", "course": "", "date": "2026-01-01"}
    for address in ("/etc/passwd", "../secret.txt", str(tmp_path / "secret.txt")):
        monkeypatch.setattr(bind, "_pandoc", lambda *_, address=address: f"#read({json.dumps(address)})")
        with pytest.raises(CourseError, match=r"report\.pdf could not be set"):
            bind.set_pdf("", settings, tmp_path / "scratch", "report", "book.typ")
    # What lies below its folder can be read: it is the folder that keeps the rest out.
    (tmp_path / "scratch" / "secret.txt").write_text("secret")
    (tmp_path / "scratch" / "report.typ").write_text('#read("/secret.txt")')
    typst.compile(tmp_path / "scratch" / "report.typ", output=tmp_path / "x.pdf")


def test_the_policy_forbids_what_the_page_does_not_need(shown):
    page = shown[2]
    (policy,) = [e.get("content") for e in page.iter(f"{HTML}meta") if e.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'", "style-src": "'unsafe-inline'", "img-src": "data:",
        "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip


# ---------------------------------------------------------------- shells and sockets


def test_a_shell_reads_settings_as_they_were_typed():
    overrides = [f"data={NAME}", "a=$(id)`id`", "b='\"'", "c=x;touch pwned", "d=\\", "e=*?~!{a,b}", "f=é  ü", "g=\n-y"]
    options = shlex.join(options_of("smoke", dict(pair.split("=", 1) for pair in overrides)))
    for shell in ("sh", "bash"):
        read = subprocess.run([shell, "-c", f"printf '%s\\0' {options}"], capture_output=True, text=True, check=True)
        assert read.stdout.split("\0")[3:-1:2] == overrides


def test_the_workflow_runs_nothing_that_a_setting_says(tmp_path):
    copy = copy_project(tmp_path / "a copy")
    folder = write_glue(copy / NAME)

    settings = ["-p", f"data={folder.name}", "-p", "target_modules=q_lin,`touch pwned`$(touch pwned)"]
    process = start(copy, *settings, "--", "--until", "inputs")
    said, _ = process.communicate(timeout=300)
    # The step that a shell has started has read the data, and then looked for the layer, both as they were typed.
    assert process.returncode == 2 and "FAILED  Fetch and check the model and the data: target_modules:" in said, said
    assert "has no layer '`touch pwned`$(touch pwned)'" in said, said
    assert not [path for path in copy.rglob("pwned*")]


def test_only_the_owner_reaches_the_fork_server():
    with fork_server(dict(os.environ)) as variables:
        folder = Path(variables[SOCKET]).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and folder.stat().st_uid == os.getuid()
    assert not folder.exists()


# ---------------------------------------------------------------- what the project is built on


def test_no_dependency_has_a_known_hole():
    if not (pip_audit := shutil.which("pip-audit")):
        pytest.skip("pip-audit is not on the PATH, so nobody looked for known holes; docs/promises.md says how to")
    command = [pip_audit, "--format", "json", "--progress-spinner", "off", "--no-deps", "--disable-pip"]
    done = subprocess.run([*command, "-r", PROJECT / "requirements.lock"], capture_output=True, text=True)
    try:
        audited = json.loads(done.stdout)["dependencies"]
    except ValueError:
        pytest.skip(f"pip-audit reached no data on known holes: {done.stderr.strip().splitlines()[-1][:200]}")
    holes = {package["name"]: [hole["id"] for hole in package["vulns"]] for package in audited if package.get("vulns")}
    assert not holes
    # It says "no known vulnerabilities" and exits with 0 even if it could look up no package at all.
    if unknown := [package["name"] for package in audited if "skip_reason" in package]:
        pytest.skip(f"no data on known holes for {len(unknown)} of {len(audited)} packages: {', '.join(unknown)[:100]}")


def test_the_page_of_promises_names_tests_that_exist():
    page = (PROJECT / "docs" / "promises.md").read_text(encoding="utf-8")
    for file in re.findall(r"[`/](test_\w+\.py)", page):
        assert list((PROJECT / "tests").rglob(file)), file
    everything = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 25
    for name in named:
        assert f"def {name}(" in everything, name
