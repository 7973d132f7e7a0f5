"""Model cards: complete, true to the run's record, accepted by a hub, and their code runs as printed."""

import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from huggingface_hub.constants import EVAL_RESULTS_FOLDER
from made_up import write_run
from small import ADAPTER, ADAPTERS, EMBEDDED, FEW, QUANTISED, SENTIMENT

from course_utils.audit import evidence
from course_utils.audit.audit import REFUTED, audit_card
from course_utils.audit.knowledge import DataSet
from course_utils.comparison.results import read_runs
from course_utils.config import load_experiment, parse_overrides
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.report.bind import write_cards
from course_utils.runs import Run, find_run, is_unchanged, read_run
from course_utils.stats import wilson_interval
from course_utils.tasks.classification import METRICS, scores_of
from course_utils.training.card import bibtex, command, write_card
from course_utils.training.train import train

pytestmark = pytest.mark.slow

SECTIONS = """\
## Model Description
## Training Configuration
### LoRA/Adapter Configuration
### Training Hyperparameters
## Performance Metrics
### Model Size and Efficiency
### Classification Results
## Usage
### Loading the Model
### Inference Example
## Comparison with Other Methods
## Limitations
## Citation
## Framework Versions
## License
## Model Card Authors
""".splitlines()  # those of the published card, in its order


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that stands for the project's root: below it lie the runs."""
    return tmp_path_factory.mktemp("root")


# In 32 bits, so that the predictions of the printed code can be held to the recorded ones.
SLIVER = FEW | {"precision": "fp32"}


@pytest.fixture(scope="module")
def trained(place):
    """Method → its run, on a sliver of the data."""
    experiment = load_experiment("smoke", SLIVER | {"methods": ADAPTERS})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_RUNS", str(place / "runs"))
        return {name: train(experiment.config(name)) for name in ADAPTERS}


def rewrite(run, folder, **changes):
    """The card of `run` with changes to its record, written beside a copy of its adapter."""
    (folder / "adapter").mkdir(parents=True)
    for name in ("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "predictions.parquet"):
        (folder / name).write_bytes((run.folder / name).read_bytes())
    changed = Run(folder, run.result.model_copy(update=changes))
    write_card(changed)
    return changed.card()


def with_targets(config, **changes):
    """`config` with its target modules spelled out, so that no card needs the base model's configuration."""
    settings = config.settings.model_copy(update={"target_modules": ("q_lin", "v_lin")})
    return config.model_copy(update=changes | {"settings": settings})


def code_blocks(card):
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


@pytest.mark.parametrize("method", ADAPTERS)
def test_card_has_every_section_of_the_published_one(trained, method):
    card = trained[method].card()
    assert [line for line in card.splitlines() if line in SECTIONS] == SECTIONS
    assert METHODS[method].equation in card and METHODS[method].citation in card
    assert "N/A" not in card and "None" not in card
    assert str(PROJECT) not in card and os.environ["HOME"] not in card


@pytest.mark.parametrize("method", ADAPTERS)
def test_numbers_are_those_of_the_record(trained, method):
    record = json.loads((trained[method].folder / "result.json").read_text())
    card = trained[method].card()
    for count in record["parameters"].values():
        assert f"{count:,}" in card
    for part in record["bytes"].values():
        assert f"{part / 1e6:,.2f} MB" in card
    assert f"{record['parameters']['trainable'] / record['parameters']['total']:.2%} of total" in card
    assert f"{record['timing']['step_ms_median']:.1f} ms" in card
    assert f"{record['memory']['peak_bytes'] / 1e6:,.2f} MB" in card
    assert record["environment"]["processor"] in card and record["environment"]["versions"]["peft"] in card
    for name, value in record["config"]["settings"].items():
        if value is False:  # a switch that is off has no line
            continue
        stated = f"{value:g}" if isinstance(value, float) else value or "`q_lin`, `v_lin`"
        assert f"- **{name.replace('_', ' ').title()}:** {stated}" in card
    for metrics in record["metrics"].values():
        low, high = wilson_interval(round(metrics["accuracy"] * metrics["n"]), metrics["n"])
        assert f"| {metrics['n']} | {metrics['accuracy']:.4f} [{low:.3f}, {high:.3f}] |" in card
        assert all(re.search(rf"\| {metrics[name]:.4f} \[[01]\.\d+, \d\.\d+\] \|", card) for name in METRICS)
    assert record["data"]["fingerprint"] in card and record["base_model"]["fingerprint"] in card


def test_limits_state_the_measured_accuracy_elsewhere(trained):
    result = trained[ADAPTER].result
    limits = trained[ADAPTER].card().partition("## Limitations")[2].partition("## Citation")[0]
    elsewhere = [name for name in result.metrics if name not in ("validation", "test")]
    assert elsewhere
    for name in elsewhere:
        difference = result.metrics[name].accuracy - result.metrics["test"].accuracy
        assert f"{result.metrics[name].accuracy:.4f}" in limits and f"{difference:+.4f}" in limits
    assert "contrastively" in limits
    worst = min(elsewhere, key=lambda name: result.metrics[name].accuracy)
    intended = trained[ADAPTER].card().partition("### Intended Use")[2].partition("## Training")[0]
    assert f"*{result.data.titles[worst].capitalize()}*" in intended


def test_the_printed_command_makes_the_run(trained):
    for run in trained.values():
        (line,) = re.findall(r"```bash\npython -m course_utils train (.*)\n```", run.card())
        words = shlex.split(line)
        given = dict(zip(words[::2], words[1::2], strict=True))
        pairs = [value for name, value in zip(words[::2], words[1::2], strict=True) if name == "-p"]
        experiment = load_experiment(given["--profile"], parse_overrides(pairs))
        made = experiment.config(given["--method"], int(given["--seed"]), given.get("--study", "main"))
        assert made.model_copy(update={"experiment": run.config.experiment}) == run.config
    experiment = load_experiment("smoke", {f"{ADAPTER}.target_modules": "q_lin,out_lin", f"{QUANTISED}.rank": "2"})
    line = command(experiment.config(ADAPTER, 3), experiment)
    settings = f"-p {ADAPTER}.target_modules=q_lin,out_lin -p {QUANTISED}.rank=2"
    assert line.endswith(f"{settings} --method {ADAPTER} --seed 3")


def test_cards_of_finished_runs_say_how_they_compare(trained, place, monkeypatch):
    monkeypatch.setenv("COURSE_RUNS", str(place / "runs"))
    assert "| LoRA | 1 |" not in trained[ADAPTER].card()
    write_cards(read_runs(load_experiment("smoke", SLIVER | {"methods": ADAPTERS})))
    for name, run in trained.items():
        accuracy = 100 * run.result.metrics["test"].accuracy
        assert f"| {METHODS[name].title} | 1 | {accuracy:.1f} [" in run.card()
        assert find_run(run.config)  # its other files are as they were


@pytest.mark.parametrize("method", ADAPTERS)
def test_an_audit_refutes_nothing(trained, method):
    findings = audit_card(trained[method].folder / "adapter" / "README.md")
    assert len(findings) > 20 and not [finding for finding in findings if finding.verdict == REFUTED]


@pytest.mark.parametrize("method", ADAPTERS)
def test_metadata_is_what_a_hub_reads(trained, method):
    run = trained[method]
    data = ModelCard.load(run.folder / "adapter" / "README.md").data
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert data.library_name == "peft" and data.pipeline_tag == "text-classification"
    assert data.license == "apache-2.0" and data.language == "en" and data.datasets is None
    assert METHODS[method].name.replace("_", "-") in data.tags and data.metrics == ["accuracy", "f1"]
    found = {(e.dataset_type, e.metric_type): e.metric_value for e in data.eval_results}
    assert found == {
        (name, metric): getattr(metrics, metric) for name, metrics in run.result.metrics.items() for metric in METRICS
    }
    low, high = next(e.metric_args["interval_95"] for e in data.eval_results if e.metric_type == "brier")
    assert 0 <= low < high <= 1


def test_results_lie_beside_the_card_as_a_hub_parses_them(trained):
    run = trained[ADAPTER]
    files = sorted((run.folder / "adapter" / EVAL_RESULTS_FOLDER).iterdir())
    assert [file.stem for file in files] == sorted(run.result.metrics)
    for file in files:
        entries = parse_eval_result_entries(yaml.safe_load(file.read_text()))
        metrics = run.result.metrics[file.stem]
        assert {entry.task_id: entry.value for entry in entries} == {name: getattr(metrics, name) for name in METRICS}
        assert all(str(metrics.n) in entry.notes for entry in entries)
    write_card(run)
    assert is_unchanged(run)


def test_hub_base_and_sst2_go_by_their_ids(trained, tmp_path, monkeypatch):
    run = trained[QUANTISED]
    card = rewrite(
        run,
        tmp_path / "run",
        config=with_targets(run.config, base_model="distilbert-base-uncased", data="sst2"),
        base_model=run.result.base_model.model_copy(
            update={"id": "distilbert-base-uncased", "fingerprint": "hub:distilbert-base-uncased@12ab"}
        ),
        data=run.result.data.model_copy(update={"titles": run.result.data.titles | {"test": "SST-2 validation"}}),
    )
    data = ModelCard(card).data
    assert data.base_model == "distilbert-base-uncased" and data.datasets == ["stanfordnlp/sst2"]
    splits = {(e.dataset_type, e.dataset_split) for e in data.eval_results if e.dataset_name == "SST-2 validation"}
    assert splits == {("stanfordnlp/sst2", "validation")}
    (results,) = (tmp_path / "run" / "adapter" / EVAL_RESULTS_FOLDER).glob("test.yaml")
    assert {e.dataset_id for e in parse_eval_result_entries(yaml.safe_load(results.read_text()))} == {
        "stanfordnlp/sst2"
    }
    loading, _ = code_blocks(card)
    compile(loading, "card", "exec")
    assert 'base = "distilbert-base-uncased"' in loading and loading.count('revision="12ab"') == 2
    assert str(SENTIMENT.labels).replace("'", '"') in loading
    assert "course_utils" not in loading and "contrastively" not in card and "sanh2019distilbert" in card
    # a validation set that was held out of the training texts may be larger than the published one
    monkeypatch.setattr(DataSet, "sizes_of", lambda *_: {"validation": 10})
    folder = tmp_path / "run" / "adapter"
    data = run.result.data.model_copy(update={"titles": run.result.data.titles | {"test": "SST-2 validation"}})
    beside = {folder.parent: Run(folder.parent, run.result.model_copy(update={"data": data}))}
    monkeypatch.setattr(evidence, "read_run", lambda place: beside.get(place) or read_run(place))
    monkeypatch.setattr(evidence, "is_unchanged", lambda run: True)  # though its card was written anew
    assert not [found for found in audit_card(folder) if found.kind == "data set" and found.verdict == REFUTED]
    (tmp_path / "alone.md").write_text((folder / "README.md").read_text())
    assert [found for found in audit_card(tmp_path / "alone.md") if found.kind == "data set"]


def test_folder_is_no_hub_id(trained, tmp_path):
    run = trained[ADAPTER]
    config = with_targets(run.config, base_model="./my-model", data="./my-data")
    card = rewrite(run, tmp_path / "run", config=config)
    data = ModelCard(card).data
    assert data.base_model is None and data.datasets is None and data.license is None
    assert "`./my-data`" in card


# Executes each card's blocks, one after the other and as printed, as a reader at the project's root would.
READER = """
import contextlib, io, json, sys, torch
answers = {}
for name, (blocks, texts) in json.load(open(sys.argv[1])).items():
    names, said = {}, io.StringIO()
    with contextlib.redirect_stdout(said):
        for block in blocks:
            exec(block, names)
    inputs = names["tokenizer"](texts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        answers[name] = said.getvalue(), names["model"](**inputs).logits.tolist()
json.dump(answers, open(sys.argv[1], "w"))
"""


def test_code_blocks_run_as_printed_and_give_the_recorded_predictions(trained, place, tmp_path):
    (place / "my-model").symlink_to(EMBEDDED.location)
    run = trained[ADAPTER]
    config = with_targets(run.config, base_model="./my-model")
    cards = {name: run.card() for name, run in trained.items()}
    cards["folder"] = rewrite(run, tmp_path / "run", config=config)
    texts = run.config.load_data().sets["test"].text.tolist()[:6]
    questions = tmp_path / "questions.json"
    questions.write_text(json.dumps({name: (code_blocks(card), texts) for name, card in cards.items()}))
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", READER, questions], cwd=place, env=environment, check=True)

    for name, (said, logits) in json.loads(questions.read_text()).items():
        assert len(code_blocks(cards[name])) == 2
        assert said.strip() in SENTIMENT.labels.values(), name
        predictions = trained.get(name, run).predictions().query("set == 'test'")[:6]
        # bitsandbytes multiplies 4-bit weights in bfloat16 on processors that can, whatever it is told.
        tolerance = 2e-3 if name in METHODS and METHODS[name].four_bit_base else 1e-5
        np.testing.assert_allclose(logits, scores_of(predictions), rtol=0, atol=tolerance, err_msg=name)


def test_every_method_cites_an_entry():
    for method in METHODS.values():
        entry = bibtex(method.citation)
        assert entry.startswith("@") and entry.count("{") == entry.count("}")
    with pytest.raises(CourseError, match="no entry 'hu1922'"):
        bibtex("hu1922")


def test_a_run_that_was_restored_without_its_adapter_gets_no_card(runs_in):
    experiment = load_experiment("smoke", {"precision": "fp32", "methods": [ADAPTER]})
    [run] = [write_run(config, 0.8) for config in experiment.configs()]
    write_cards(read_runs(experiment))
    assert not (run.folder / "adapter").exists()
