"""The chapters hold for every base that training accepts, the answers to their exercises included."""

import matplotlib

matplotlib.use("agg")

import nbformat
import pandas as pd
import pytest
import torch
from small import ADAPTER, EMBEDDED, FEW, HEAD
from transformers import AutoModelForSequenceClassification, BertConfig, GPT2Config, LlamaConfig

from course_utils.config import load_experiment
from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.report.chapters import NOTEBOOKS, notebook_names, subject
from course_utils.workflow.notebooks import what_fits

pytestmark = pytest.mark.slow

USUAL = {"num_hidden_layers": 2, "max_position_embeddings": 128}
BASES = {
    # no bias, no padding token, fewer heads of keys and values, so that query and value differ in shape
    "llama": LlamaConfig(hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, **USUAL),
    # Conv1D, which keeps its weight as (in, out)
    "gpt2": GPT2Config(n_embd=48, n_layer=2, n_head=4, n_positions=128, bos_token_id=101, eos_token_id=102),
    # a width that 64 does not divide, and weights that NF4's blocks of 64 do not fill
    "narrow": BertConfig(hidden_size=60, num_attention_heads=12, intermediate_size=100, **USUAL),
}
CHAPTERS = {name: METHODS[subject(name)] for name in notebook_names(list(METHODS)) if subject(name) in METHODS}
# Every chapter with the first base; on each of the others, those that do something of their own with its weights.
PAIRS = [
    (base, name)
    for base in BASES
    for name, method in CHAPTERS.items()
    if base == "llama" or method.four_bit_base or method.picture.gated == (base == "narrow")
]


@pytest.fixture(scope="module")
def base(request, tmp_path_factory):
    """The folder of a tiny random model with the embedded base's words."""
    folder, config = tmp_path_factory.mktemp(request.param), BASES[request.param]
    torch.manual_seed(0)
    config.vocab_size = 30_522
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer = EMBEDDED.tokenizer()
    if "bert" not in config.model_type:
        tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _beside_the_notebooks(monkeypatch):
    """As in JupyterLab, code runs in the folder of the notebooks; what it displays is seen by nobody."""
    monkeypatch.chdir(PROJECT / "notebooks")
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)


def run_cells(name, experiment, whole=False):
    """Run every cell of the chapter `name` as `experiment` wants it, or as it is; a failure names its cell."""
    notebook, names = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4), {}
    for number, cell in enumerate((notebook if whole else what_fits(notebook, experiment)).cells):
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{name}, cell {number}", "exec"), names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= experiment.parameters
    return names


@pytest.mark.parametrize("data", ["embedded", "embedded-5"])
def test_a_reader_who_runs_every_cell_of_the_data_chapter_gets_to_its_end(data):
    """JupyterLab, unlike the workflow, leaves no cell out that is tagged for other data."""
    assert 0.5 < run_cells("01_data", load_experiment("smoke", {"data": data}), whole=True)["human"] < 1


@pytest.mark.parametrize(("base", "name"), PAIRS, indirect=["base"])
def test_a_chapter_holds_for_a_base_of_another_width_and_kind(base, name, monkeypatch):
    monkeypatch.setenv("COURSE_RUNS", str(base.parent / f"runs of {base.name}"))
    run_cells(name, load_experiment("smoke", FEW | {"base_model": str(base)}))


@pytest.mark.parametrize("base", ["gpt2"], indirect=True)
def test_the_chapter_of_mistakes_holds_for_a_rare_class_and_texts_that_begin_alike(base, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    labels = ["spam" if n % 20 == 0 else "usual" for n in range(160)]
    rows = {"text": [f"the text {n} is {label}" for n, label in enumerate(labels)], "label": labels}
    pd.DataFrame(rows).to_csv(tmp_path / "texts.csv", index=False)
    own = {"base_model": str(base), "data": str(tmp_path / "texts.csv"), "methods": [HEAD, ADAPTER]}
    run_cells("07_pitfalls", load_experiment("smoke", FEW | own))
