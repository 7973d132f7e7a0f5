"""Language modelling: scores are the library's loss, an adapter gives back its recorded scores, faults are said."""

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from made_up import write_run
from peft import PeftModel
from small import ADAPTER, ADAPTERS, EMBEDDED, FULL, GATED, HEAD, QUANTISED, tiny_decoder
from transformers import AutoModelForCausalLM

from course_utils.__main__ import main
from course_utils.code_identity import code_of
from course_utils.comparison.language import bits_of_runs, judge_bits
from course_utils.comparison.other_experiments import conclude_of_language
from course_utils.comparison.published import publish_records
from course_utils.comparison.results import read_runs
from course_utils.comparison.tables import write_comparison
from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.inputs import splits
from course_utils.inputs.splits import load_data
from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.report.bind import build_report
from course_utils.report.language import language_comparison
from course_utils.runs import find_run
from course_utils.stats import equivalence_margin
from course_utils.tasks.classification import scores_of
from course_utils.tasks.language_modelling import (
    LANGUAGE_METRICS,
    LanguageModelling,
    bits_of_texts,
    bits_per_byte,
    change_in_bits,
    perplexity,
)
from course_utils.text import in_sentence, rounded_up
from course_utils.training.evaluation import predict
from course_utils.training.train import train

TEXTS = pd.DataFrame({"text": ["The film is thin.", "A", "the the the end of the thing, in the end <end>", "Été ☂"]})
SIZES = {"max_train": 32, "max_validation": 8, "max_test": 12, "max_other": 8, "precision": "fp32", "max_length": 512}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A tiny random decoder."""
    return tiny_decoder(tmp_path_factory.mktemp("decoder") / "base")


@pytest.fixture
def experiment(runs_in, decoder):
    return load_experiment("language", SIZES | {"base_model": decoder.name})


def losses_of_library(model, tokenizer):
    """Summed negative log-likelihood and tokens of each text alone, from transformers' own mean loss."""
    for text in TEXTS.text:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        tokens = ids.shape[1] - 1
        with torch.inference_mode():
            yield (model(ids, labels=ids).loss.item() * tokens if tokens else 0.0), tokens


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("tokens_at_once", [16, 4096])
def test_scores_are_the_librarys_loss_whatever_the_batch_and_its_padding(experiment, decoder, side, tokens_at_once):
    model, tokenizer = decoder.load(LanguageModelling()), decoder.tokenizer()
    tokenizer.padding_side = side
    config = experiment.shared.model_copy(update={"tokens_at_once": tokens_at_once})
    expected = np.array([*losses_of_library(model, tokenizer)])
    np.testing.assert_allclose(predict(config, model, tokenizer, TEXTS), expected, rtol=1e-5)
    assert tokenizer.pad_token == "<end>" and expected[1].tolist() == [
        0,
        0,
    ]  # padding occurs as text; one token is none


def test_frozen_matrices_in_bf16_leave_the_shared_embeddings_and_the_scores_alone(experiment, decoder):
    from course_utils.training.speed import keep_frozen_matrices_in_bf16

    config = experiment.shared.model_copy(update={"precision": "bf16"})
    model, tokenizer = decoder.load(LanguageModelling()).requires_grad_(False), decoder.tokenizer()
    expected = predict(config, model, tokenizer, TEXTS)
    keep_frozen_matrices_in_bf16(model, METHODS[ADAPTER])
    assert model.get_input_embeddings().weight is model.lm_head.weight
    layer = model.model.layers[0].mlp.up_proj
    assert model.lm_head.weight.dtype == torch.float32 and layer.weight.dtype == torch.bfloat16
    np.testing.assert_array_equal(predict(config, model, tokenizer, TEXTS), expected)


def test_the_gradient_of_a_batch_in_parts_is_the_whole_batchs(experiment, decoder, tmp_path):
    """Texts of unequal length: a mean over parts would weigh their tokens unequally."""
    from course_utils.training.trainer import make_trainer

    data, gradients = experiment.shared.load_data(), []
    for tokens_at_once in (None, 64):
        config = experiment.config(FULL).model_copy(update={"tokens_at_once": tokens_at_once})
        model, tokenizer = decoder.load(LanguageModelling()).requires_grad_(True), decoder.tokenizer()
        trainer = make_trainer(config, model, tokenizer, data, tmp_path)
        batch = LanguageModelling.collator(tokenizer)(
            [{name: row[name] for name in ("input_ids", "attention_mask")} for row in trainer.train_dataset]
        )
        counted = (batch["labels"] != -100).sum()
        trainer.current_gradient_accumulation_steps = 1
        loss = trainer.training_step(model, batch, counted)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    with torch.inference_mode():
        whole = model(**batch).loss
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_bits_per_byte_by_hand():
    scores, sizes = np.array([[math.log(2) * 12, 4], [math.log(2) * 8, 1]]), np.array([6, 4])
    assert bits_per_byte(scores, sizes) == pytest.approx((12 + 8) / (6 + 4))
    assert perplexity(scores, sizes) == pytest.approx(2 ** (20 / 5))
    assert bits_of_texts(scores, sizes).mean() == pytest.approx(2.0)
    half = scores * [0.5, 1]
    assert change_in_bits(half, scores, sizes).estimate == pytest.approx(-1.0)
    for name, metric in LANGUAGE_METRICS.items():
        interval = metric.interval(scores, sizes)
        assert interval.low < interval.estimate < interval.high, name
        assert interval.estimate == pytest.approx(metric.value(scores, sizes)), name


def test_bytes_are_those_of_what_is_read(decoder):
    tokenizer = decoder.tokenizer()
    assert LanguageModelling.truths(TEXTS, tokenizer, 64).tolist() == [len(text.encode()) for text in TEXTS.text]
    short = LanguageModelling.tokenize(TEXTS, tokenizer, 8)
    assert max(short["length"]) == 8
    assert LanguageModelling.truths(TEXTS, tokenizer, 8)[0] == len(tokenizer.decode(short[0]["input_ids"]).encode())


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=[] if name == ADAPTER else pytest.mark.slow) for name in [*ADAPTERS, FULL]]
)
def test_a_saved_run_gives_the_recorded_scores_again(experiment, decoder, method):
    overrides = {"methods": [method]} | ({"sparsity": 0} if method == GATED else {})  # in two steps it shuts every gate
    config = load_experiment("language", experiment.overrides | overrides).config(method)
    run = train(config)
    rows = run.predictions().query("set == 'test'")
    texts = config.load_data().sets["test"]
    assert list(rows.columns) == ["set", "example_id", "bytes", "scores", "scores_before"]
    assert rows.bytes.tolist() == [len(text.encode()) for text in texts.text]
    recorded = run.result.metrics["test"]
    assert recorded.bits_per_byte == pytest.approx(bits_per_byte(scores_of(rows), rows.bytes.to_numpy()), rel=1e-6)
    before = predict(config, decoder.load(LanguageModelling()), decoder.tokenizer(), texts)
    np.testing.assert_allclose(np.stack(rows.scores_before.to_list()), before, rtol=1e-4)
    assert run.result.parameters.head == 0 and run.result.parameters.adapter > 0
    assert run.result.metrics["test"].bits_per_byte != run.result.metrics_before["test"].bits_per_byte
    if method == FULL:
        return
    adapter = json.loads((run.folder / "adapter/adapter_config.json").read_text())
    assert adapter["task_type"] == "CAUSAL_LM" and not adapter.get("modules_to_save")
    if method == QUANTISED:
        base = METHODS[method].load_base(decoder, LanguageModelling(), "fp32", run.config.settings)
    else:
        base = AutoModelForCausalLM.from_pretrained(decoder.location, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, run.folder / "adapter").eval()
    np.testing.assert_allclose(predict(config, loaded, decoder.tokenizer(), texts), scores_of(rows), rtol=1e-3)
    card = run.card()
    assert f"{recorded.bits_per_byte:.5f}" in card and "PeftModel" in card and "classif" not in card.lower()


def test_predict_continues_a_text_and_the_record_is_found_again(experiment, capsys):
    run = train(experiment.config(ADAPTER))
    assert find_run(run.config).result == run.result
    assert "tasks.classification" not in run.result.code and "tasks.language_modelling" not in code_of(ADAPTER)
    capsys.readouterr()  # of the training
    assert main(["predict", str(run.folder), "The film", "--tokens", "5"]) == 0
    assert capsys.readouterr().out.startswith("The film")
    assert main(["predict", str(run.folder), "The film", "the", "--tokens", "5", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["text"] for answer in answers] == ["The film", "the"]
    assert all(answer.keys() == {"text", "continuation"} for answer in answers)
    assert main(["export", str(run.folder), "--merged", str(run.folder.parent / "merged")]) == 2
    assert "language model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "method", "message"),
    [
        ({"base_model": "embedded"}, ADAPTER, "type base_model=embedded-decoder"),
        ({"truncation": "head_and_tail"}, ADAPTER, "reads a text from its beginning"),
        ({"also_evaluate": "sst2"}, ADAPTER, "also_evaluate: task=language_modelling reads single texts"),
        ({"methods": f"{HEAD},{ADAPTER}"}, HEAD, "leave the method out"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(experiment, monkeypatch, overrides, method, message):
    monkeypatch.setattr(splits, "load_data", lambda *_, **__: pytest.fail("it read the data"))
    config = load_experiment("language", experiment.overrides | overrides).config(method)
    with pytest.raises(CourseError, match=message):
        train(config)


def test_an_unknown_task_and_commands_that_do_not_serve_it_are_refused(capsys):
    assert main(["run", "-p", "task=language_modeling"]) == 2
    assert "did you mean 'language_modelling'" in capsys.readouterr().err
    assert main(["report", "--profile", "language", "--figure", "bits.svg"]) == 2
    assert "leave --figure bits.svg out" in capsys.readouterr().err


def test_a_method_that_trains_a_head_alone_is_left_out():
    assert HEAD not in load_experiment("quick", {"task": "language_modelling"}).methods
    assert HEAD in load_experiment("quick").methods


def test_a_configuration_of_classification_is_what_it_was():
    config = load_experiment("quick").config(ADAPTER)
    assert "task" not in config.model_dump() and config.task == "classification"
    language = load_experiment("quick", {"task": "language_modelling"}).config(ADAPTER)
    assert language.model_dump()["task"] == "language_modelling"


@pytest.mark.parametrize("table", ["text\n{}", "text,label\n{}", "anything\n{}"])
def test_a_file_needs_texts_and_no_labels(tmp_path, table):
    lines = [f"Sentence number {number} is of its own." for number in range(40)]
    rows = [f"{line},1" if "label" in table else line for line in lines]
    (tmp_path / "texts.csv").write_text(table.format("\n".join(rows)))
    config = load_experiment(
        "language", {"data": str(tmp_path / "texts.csv"), "base_model": EMBEDDED.name, "batch_size": 4}
    ).shared
    data = load_data(config.source)
    assert data.class_names == () and len(data.sets["train"]) + len(data.sets["test"]) > 30


def test_the_comparison_is_paired_and_its_margin_is_that_of_seeds(experiment, runs_in):
    methods = [ADAPTER, FULL]
    texts, random = 60, np.random.default_rng(0)
    sizes, hard = random.integers(20, 200, texts), random.normal(1.5, 0.3, texts)
    for method in methods:
        for seed in range(3):
            better = 0.1 * (method == ADAPTER) + 0.002 * seed
            write_language_run(experiment.config(method, seed), sizes, hard, better)
    results = read_runs(experiment)
    shares = bits_of_runs(results)
    margin, [pair] = judge_bits(shares)
    assert margin == equivalence_margin(shares) and 0.002 < margin < 0.01
    assert {pair.first, pair.second} == {*methods} and pair.differs
    assert abs(pair.difference.estimate) == pytest.approx(0.1, abs=1e-6)
    said = language_comparison(results)
    best, other = METHODS[ADAPTER].title, METHODS[FULL].title
    assert f"{best} has the lowest mean of bits per byte. Its mean is shown to be below those of {other}." in said
    assert f"margin of equivalence is {rounded_up(margin, 4)}" in said and "## Forgetting" in said
    assert f"{other} and {best} need more bits than before on tweets" in said


@pytest.mark.slow
def test_the_report_is_bound_and_its_records_give_the_same_comparison(experiment, runs_in, monkeypatch):
    random = np.random.default_rng(0)
    sizes, hard = random.integers(20, 200, 60), random.normal(1.5, 0.3, 60)
    for config in experiment.configs():
        best = config.settings.learning_rate == experiment.config(config.method).settings.learning_rate
        apart = (
            0.002 * (1 + 2 * (config.method == FULL)) * (config.seed - 1)
        )  # the seeds of one method more than others'
        better = 0.1 if config.method == ADAPTER else 0.003 * experiment.methods.index(config.method)
        write_language_run(config, sizes, hard, better + 0.01 * best + apart)
    monkeypatch.setenv("COURSE_REPORTS", str(runs_in / "reports"))
    results = read_runs(experiment)
    trials = pd.read_csv(write_comparison(results)).query("study != 'main'")
    page, pdf = build_report(results)
    publish_records(results)
    said, concluded = language_comparison(results), conclude_of_language(results)
    scores = {name: own.score.estimate for name, own in concluded.methods.items()}
    assert max(scores, key=scores.get) == ADAPTER and scores[ADAPTER] - scores[FULL] == pytest.approx(
        0.1 - 0.003 * experiment.methods.index(FULL)
    )
    assert all(
        pair.above == (pair.first == ADAPTER) for pair in concluded.pairs if ADAPTER in (pair.first, pair.second)
    )
    assert len(trials) > 10 and trials["test_bits_per_byte"].isna().all() and pdf.stat().st_size > 10_000
    assert f"The seeds of {in_sentence(METHODS[FULL].title)} lie farthest apart" in said
    bound = page.read_text("utf-8")
    assert f"{METHODS[ADAPTER].title} has the lowest mean of bits per byte" in bound
    assert f'id="ref-{METHODS[ADAPTER].citation}"' in bound  # the papers on the methods are among the references
    script = [sys.executable, PROJECT / "docs" / "recompute.py", pdf.parent]
    recomputed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    for pair in judge_bits(bits_of_runs(results))[1]:
        values = " ".join(f"{value:+.4f}" for value in (pair.difference.estimate, *pair.difference.ends))
        assert f"{pair.first} - {pair.second} {values} {pair.p_holm:.4f}" in " ".join(recomputed.split())
    monkeypatch.setenv("COURSE_FROM_RECORDS", "1")
    published = read_runs(experiment)
    assert len(published.runs) == len(experiment.configs()) and language_comparison(published) == said


def write_language_run(config, sizes, hard, better):
    """A run folder whose texts take `hard` bits per byte before, and `better` fewer after; tweets take 0.2 more."""
    from course_utils import runs

    texts = len(sizes)
    tables = []
    final = [("test", -better), ("tweets", 0.2)] if config.final else []
    for name, change in [("validation", -better), *final]:
        before, after = (np.stack([math.log(2) * sizes * bits, sizes / 4], axis=1) for bits in (hard, hard + change))
        ids = [f"{name}-{place}" for place in range(texts)]
        columns = {"set": name, "example_id": ids, "bytes": sizes}
        tables.append(pd.DataFrame(columns | {"scores": list(after), "scores_before": list(before)}))
    table = pd.concat(tables)
    run = write_run(config, 0.5)
    task = LanguageModelling()
    record = run.result.model_dump(mode="json", exclude={"files", "checksum"})
    for field, column in (("metrics", "scores"), ("metrics_before", "scores_before")):
        record[field] = {
            name: task.score(np.stack(rows[column].to_list()), rows.bytes.to_numpy())
            for name, rows in table.groupby("set", sort=False)
        }
    record["data"]["titles"]["tweets"] = "tweets"
    with runs.held(config):
        folder = runs.workspace(config, "identity")
        table.to_parquet(folder / "predictions.parquet", index=False)
        return runs.publish(folder, runs.RunResult.model_validate(record | {"files": {}}))


@pytest.mark.slow
def test_the_embedded_decoders_scores_are_the_librarys(runs_in):
    config = load_experiment("language", {"precision": "fp32"}).shared
    model, tokenizer = config.base.load(LanguageModelling()), config.base.tokenizer()
    expected = np.array([*losses_of_library(model, tokenizer)])
    np.testing.assert_allclose(predict(config, model, tokenizer, TEXTS), expected, rtol=1e-4)
