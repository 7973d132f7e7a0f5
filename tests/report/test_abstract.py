"""The finding and the abstract say what made-up runs with known answers allow, and no more."""

import json
import re
import shutil

import pandas as pd
import pytest
from made_up import finished
from small import ADAPTER, FULL, GATED, HEAD, MULTIPLIED, QUANTISED

from course_utils import runs
from course_utils.comparison.results import read_runs
from course_utils.config import load_experiment
from course_utils.paths import sha256_of
from course_utils.report.abstract import abstract, finding

CLEAR = {HEAD: 0.7, FULL: 0.95, ADAPTER: 0.9, GATED: 0.8, QUANTISED: 0.8, MULTIPLIED: 0.75}


@pytest.fixture
def made(runs_in, reports_in):
    """A function that writes runs of these accuracies, `seeds` of each method, and returns their experiment."""

    def make(accuracies, seeds=3):
        results = finished(accuracies, seeds, apart=0.005)  # two runs differ
        for run in results.runs:
            record = run.folder / "result.json"
            result = json.loads(record.read_text())
            result["parameters"]["trainable"] = 200_000 if run.config.method == FULL else 3_000
            tweets = result["metrics"]["test"] | {"accuracy": result["metrics"]["test"]["accuracy"] - 0.1}
            result["metrics"] |= {"validation": tweets, "tweets": tweets}
            result["data"]["titles"]["tweets"] = "tweets"
            file = run.folder / "predictions.parquet"
            answers = pd.read_parquet(file)
            pd.concat([answers, answers[answers["set"] == "test"].assign(set="tweets")]).to_parquet(file, index=False)
            result["files"][file.name] = sha256_of(file)
            result["checksum"] = None  # an older record has none
            record.write_text(json.dumps(result))
        return results.experiment

    return make


def said(experiment):
    """The finding and the abstract; what holds of both in every case is checked here."""
    results = read_runs(experiment)
    sentence, paragraph = finding(results), abstract(results)
    assert sentence.endswith(".") and "\n" not in sentence
    assert "nan" not in sentence + paragraph and "¶" not in paragraph
    return sentence, paragraph


def test_a_clear_winner(made):
    sentence, paragraph = said(made(CLEAR))
    assert sentence == (
        "Trained on 1,000 texts, LoRA has the highest mean accuracy of the 4 adapter methods "
        "(90.0% of 200 test texts), significantly above each of the others. LoRA stores 1.5% as many parameters as "
        "full fine-tuning and is 5.0 points below it."
    )
    assert "in 18 runs, 3 seeds a method" in paragraph
    assert "learn from 1,000 texts in 2 classes and are judged on 200 texts of the set *movie test*" in paragraph
    assert "90.0% [8" in paragraph and "full fine-tuning has 95.0% [" in paragraph
    assert "stores 1.5% as many parameters as full fine-tuning, its head included;" in paragraph
    assert "5 are significantly different and 1 is equivalent within 1.64 points (Sparse LoRA and QLoRA)" in paragraph
    assert re.search(r"from which LoRA differs by −5.0 \[[^]]+\] points \(significant\)", paragraph)
    assert "are shown to be less accurate than full fine-tuning. For “bytes to store" in paragraph
    assert "Of the adapter methods, take LoRA for “tweets”." in paragraph
    assert 120 <= len(paragraph.split()) <= 270


def test_a_tie_has_no_winner(made):
    tie = CLEAR | {QUANTISED: 0.9, FULL: 0.9, MULTIPLIED: 0.88}
    sentence, paragraph = said(made(tie))
    assert (
        "significantly above Sparse LoRA, equivalent within 1.64 points to QLoRA and not shown to be better than HiRA"
        in sentence
    )
    assert sentence.endswith("and is equivalent to it within 1.64 points.")
    assert "1 is equivalent within 1.64 points (LoRA and QLoRA) and 2 are inconclusive" in paragraph
    assert re.search(r"from which LoRA differs by 0.0 \[[^]]+\] points \(equivalent within 1.64 points\)", paragraph)


def test_a_difference_that_may_be_chance_is_called_so(made):
    sentence, paragraph = said(made(CLEAR | {FULL: 0.91}))
    assert sentence.endswith("and is 1.0 points below it, a difference that is not significant.")
    assert re.search(r"from which LoRA differs by [^(]+ points \(inconclusive\)", paragraph)


def test_one_seed_allows_no_conclusion(made):
    sentence, paragraph = said(made(CLEAR, seeds=1))
    assert sentence.startswith("Nothing is concluded about the adapter methods: none has 3 finished seeds")
    assert "in 6 runs, 1 seed a method" in paragraph
    assert "Too few seeds are finished to conclude anything about LoRA, Sparse LoRA, QLoRA and HiRA." in paragraph
    assert "significant" not in paragraph


def test_missing_methods_are_missing_from_the_conclusions(made):
    experiment = made(CLEAR)
    for method in (MULTIPLIED, FULL):
        for seed in range(3):
            shutil.rmtree(runs.runs_folder() / experiment.config(method, seed).path)
    sentence, paragraph = said(experiment)
    assert "of the 3 adapter methods with 3 finished seeds" in sentence and FULL not in sentence
    assert "in 12 of 18 planned runs" in paragraph and "anything about HiRA." in paragraph
    assert "Of 3 pairs" in paragraph and "stores 3,000 parameters, its head included; head" in paragraph
    for method in (GATED, QUANTISED):
        shutil.rmtree(runs.runs_folder() / experiment.config(method, 1).path)
    sentence, _ = said(experiment)
    assert sentence == (
        "Trained on 1,000 texts, LoRA is the only adapter method with 3 finished seeds and classifies 90.0% of 200 "
        "test texts correctly."
    )


@pytest.mark.parametrize("seeds", [1, 3])
def test_numbers_of_runs_that_learned_nothing_mean_nothing(made, seeds):
    sentence, paragraph = said(made(dict.fromkeys(CLEAR, 0.55), seeds))
    assert "better than the majority class, which is 50.0% of 200 test texts: the numbers mean nothing" in sentence
    assert "The numbers mean nothing" in paragraph and "differ" not in paragraph
    assert 120 <= len(paragraph.split()) <= 180


def test_without_an_adapter_method_the_others_are_reported(runs_in):
    sentence, paragraph = said(finished({name: CLEAR[name] for name in (HEAD, FULL)}).experiment)
    assert "has no adapter method" in sentence and "full fine-tuning classifies 95.0% of 200 test texts" in sentence
    assert paragraph.startswith("Head only and full fine-tuning are judged on")
    assert "Head only classifies 70.0% [" in paragraph


def test_no_run_no_finding(runs_in):
    sentence, paragraph = said(load_experiment("smoke"))
    assert sentence == "No adapter method of experiment `smoke` has a finished run: nothing was found."
    assert "in 0 of 6 planned runs" in paragraph and "nothing to compare" in paragraph
