"""The baselines that fine-tune nothing: what they read, when they are computed again, and what beating them buys."""

import numpy as np
import pandas as pd
import pytest
from made_up import SENTENCES, finished
from sklearn.linear_model import LogisticRegression
from small import ADAPTER, FEW, FULL, HEAD

from course_utils import runs
from course_utils.code_identity import FROM_RECORDS
from course_utils.comparison import axes, baselines, tables
from course_utils.comparison.conclusions import bought, bought_sentences, over_baselines
from course_utils.comparison.results import read_runs
from course_utils.config import load_experiment
from course_utils.methods import METHODS
from course_utils.report import abstract, choice, exhibits
from course_utils.text import signed_interval


@pytest.mark.slow
def test_they_answer_every_set_and_are_computed_once(runs_in, tiny, monkeypatch):
    experiment = load_experiment("smoke", FEW | {"base_model": tiny.name, "precision": "fp32"})
    first = baselines.make_baselines(experiment)
    data = experiment.shared.load_data()
    for name in (baselines.TF_IDF.name, baselines.FROZEN.name):
        sets = first[first["baseline"] == name].groupby("set").size()
        assert sets.to_dict() == {
            of: len(frame) for of, frame in data.sets.items() if of not in ("train", "validation")
        }
        assert first.attrs["seconds"][name] > 0 and first.attrs["penalty"][name] in baselines.PENALTIES
    with monkeypatch.context() as patch:
        patch.setattr(baselines, "fitted", None)  # would raise
        pd.testing.assert_frame_equal(baselines.make_baselines(experiment), first)
    monkeypatch.setattr(baselines, "_code", lambda: "another")
    monkeypatch.setattr(baselines, "FITTED", [baselines.TF_IDF])
    assert set(baselines.make_baselines(experiment)["baseline"]) == {baselines.TF_IDF.name}


@pytest.mark.parametrize(
    ("texts", "pair"),
    [
        (["这部电影很好看", "这部电影很难看", "电影一般"], None),
        (["यह फ़िल्म अच्छी है", "यह फ़िल्म बुरी है", "फ़िल्म ठीक है"], None),
        (["a film", "a film", "a film"], ["it is good", "it is bad", "it is fair"]),
    ],
    ids=["Chinese", "Hindi", "pairs"],
)
def test_words_and_letters_tell_classes_apart_in_any_script_and_in_pairs(texts, pair):
    frame = pd.DataFrame({"text": texts, "label": range(3)} | ({"text_pair": pair} if pair else {}))
    features = baselines.word_features(None, frame).fit(frame)
    model = LogisticRegression(C=100).fit(features.transform(frame), frame["label"])
    assert model.predict(features.transform(frame)).tolist() == [0, 1, 2]


@pytest.mark.slow
def test_the_published_answers_at_a_training_size_are_found_again(monkeypatch):
    """At the smallest size; the larger ones take the same way, and longer."""
    monkeypatch.setenv(FROM_RECORDS, "1")
    results = read_runs(load_experiment("full"))
    published = axes.baselines_by_size(results)
    few = [run for run in results.runs if run.config.study in ("main", "size-500")]
    again = axes.baselines_by_size.__wrapped__(type(results)(results.experiment, few, []))
    assert [*again] == ["500"] and len(published) == 3
    for name, right in again["500"].items():
        changed = sum(one != other for one, other in zip(right, published["500"][name], strict=True))
        assert changed <= len(right) / 200, name  # another processor rounds otherwise


def fit_by_hand(experiment, accuracy, data="d" * 64):
    """Baselines that nobody fitted, of this accuracy on the sentences of `write_run`: the last ones are right."""
    labels = np.tile([0, 1], SENTENCES // 2)
    right = np.arange(SENTENCES) >= SENTENCES - round(accuracy * SENTENCES)
    table = pd.DataFrame({"set": "test", "example_id": [f"sentence-{i}" for i in range(SENTENCES)], "label": labels})
    table["scores"] = [[1.0 - said, 1.0 * said] for said in np.where(right, labels, 1 - labels)]
    table["baseline"] = baselines.TF_IDF.name
    known = {"seconds": {baselines.TF_IDF.name: 1.5}, "penalty": {baselines.TF_IDF.name: 10.0}}
    table.attrs = {"data": data, "base_model": "b" * 64} | known
    table.to_parquet(runs.runs_folder() / experiment.name / "baselines.parquet", index=False)
    return read_runs(experiment)


@pytest.fixture
def experiment(runs_in, reports_in):
    """Three seeds of three methods."""
    return finished({HEAD: 0.95, FULL: 0.8, ADAPTER: 0.9}).experiment


def test_they_stand_in_the_table_and_in_a_file_beside_it(experiment):
    results = fit_by_hand(experiment, 0.7)
    summary = tables.summary_table(results).set_index("method")
    assert list(summary.index) == ["majority", "tf-idf", HEAD, FULL, ADAPTER]
    row = summary.loc["tf-idf"]
    assert (row["accuracy"], row["train_seconds"]) == (0.7, 1.5) and row["accuracy_low"] < 0.65 < 0.75 < row[
        "accuracy_high"
    ]
    by_set = tables.accuracy_by_set(results).set_index("method")
    assert by_set.loc[["majority", "tf-idf", ADAPTER], "estimate"].tolist() == pytest.approx([50, 70, 90])
    file = tables.write_comparison(results).with_name("baselines.csv")
    written, described = pd.read_csv(file), pd.read_csv(file.with_name("baselines_columns.csv"))
    assert written["test_accuracy"].tolist() == [0.5, 0.7] and list(described["column"]) == list(written)
    said = described.set_index("column")["description"]
    assert said["test_macro_f1"].startswith("mean over the classes of their F1, on the set test;")


def test_those_of_other_data_are_left_out(experiment):
    results = fit_by_hand(experiment, 0.7, data="e" * 64)
    assert list(results.predictions.baselines) == ["majority"] and bought_sentences(results) == []


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [(0.7, "more accurate than"), (0.9, "not shown to differ in accuracy from"), (1.0, "less accurate than")],
)
def test_what_fine_tuning_buys_is_the_paired_difference_of_its_best_method(experiment, accuracy, said, shown):
    results = fit_by_hand(experiment, accuracy)
    (found,) = bought(results)
    assert found.pair.first == ADAPTER  # not the head, which trains nothing else
    assert found.pair.difference.estimate == pytest.approx(0.9 - accuracy)
    (sentence,) = bought_sentences(results)
    assert f"is {said} TF-IDF and logistic regression" in sentence
    assert "took 9.0 s (median" in sentence and "took 1.5 s" in sentence
    judged = {pair.first: pair for pair in over_baselines(results)}
    assert [*judged] == [HEAD, FULL, ADAPTER] and judged[FULL].family == 3
    exhibits.conclusions(results)
    gains = next(
        word for word in shown if isinstance(word, pd.DataFrame) and "Minus TF-IDF and logistic regression" in word
    )
    for name, cell in gains["Minus TF-IDF and logistic regression"].items():
        (pair,) = (pair for pair in judged.values() if METHODS[pair.first].title == name)
        assert cell == signed_interval(pair.difference) + "*" * pair.differs


def test_where_no_method_learned_the_baseline_that_did_is_named(runs_in, reports_in, shown):
    experiment = finished(dict.fromkeys([HEAD, FULL, ADAPTER], 0.55)).experiment
    for accuracy, learned in ((0.9, True), (0.52, False)):
        results = fit_by_hand(experiment, accuracy)
        choice.which_when(results)
        for said in (abstract.finding(results), abstract.abstract(results), shown[-1]):
            assert ("TF-IDF and logistic regression" in said and "90.0%" in said) == learned, said
        assert ("mean nothing" in abstract.abstract(results)) == (not learned)
