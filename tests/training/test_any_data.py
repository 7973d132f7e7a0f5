"""A run on data of one's own: any number of classes, one text or two; its record, its card, and what it predicts."""

import io
import json
import shutil

import numpy as np
import pandas
import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from small import ADAPTER

from course_utils.__main__ import main
from course_utils.audit import audit_card
from course_utils.audit.findings import REFUTED
from course_utils.config import load_experiment
from course_utils.runs import load_model
from course_utils.tasks.classification import scores_of
from course_utils.training.train import train

NAMES = ("Freude", "nichts", "Ärger")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
    """Where the data and the runs of these tests lie, with a base of their own."""
    place = tmp_path_factory.mktemp("any data")
    shutil.copytree(tiny.location, place / "base")
    texts = pandas.DataFrame(
        {"Inhalt": [f"Satz {n} 😀" for n in range(120)], "Gefühl": [NAMES[n % 3] for n in range(120)]}
    )
    texts.to_csv(place / "three.csv", index=False)
    pairs = pandas.DataFrame(
        {"sentence1": [f"It rains {n}." for n in range(60)], "sentence2": "It is wet.", "label": [0, 1] * 30}
    )
    pairs.to_json(place / "pairs.jsonl", orient="records", lines=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_RUNS", str(place / "runs"))
        yield place


def trained(place, file, **settings):
    own = {"base_model": str(place / "base"), "data": str(place / file), "methods": [ADAPTER], "precision": "fp32"}
    return train(load_experiment("smoke", own | settings).config(ADAPTER))


@pytest.fixture(scope="module")
def three(place):
    return trained(place, "three.csv", text_column="Inhalt", label_column="Gefühl")


def test_the_record_holds_the_classes_and_a_score_for_each(three):
    assert three.result.schema_version == 2 and three.task.class_names == NAMES
    predictions = three.predictions()
    scores = scores_of(predictions.query("set == 'test'"))
    labels = predictions.query("set == 'test'")["label"].to_numpy()
    metrics = three.result.metrics["test"]
    assert scores.shape == (len(labels), 3) and metrics.f1 is None and 0 < metrics.macro_f1 <= 1
    assert metrics.accuracy == pytest.approx((scores.argmax(axis=1) == labels).mean())
    assert load_model(three).config.id2label == dict(enumerate(NAMES))
    assert "validation_macro_f1" in three.history()


def test_the_card_speaks_of_these_classes_and_holds(three):
    card = three.card()
    assert all(name in card for name in NAMES) and "num_labels=3" in card
    for word in ("sentiment", "Sentiment", "movie", "negative", "positive", "F1 is that of"):
        assert word not in card, word
    metrics = {result.metric_type for result in ModelCard(card).data.eval_results}
    assert "macro_f1" in metrics and "f1" not in metrics
    findings = audit_card(three.folder / "adapter")
    assert findings and not [finding for finding in findings if finding.verdict == REFUTED]


def test_predict_takes_texts_as_people_have_them(three, place, capsys, monkeypatch):
    adapter = str(three.folder / "adapter")  # leads to its run
    assert main(["predict", adapter, "--json", "--", "-ein Satz", "zwei\x1b[31m"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["text"] for answer in answers] == ["-ein Satz", "zwei\x1b[31m"]
    assert all(answer["label"] in NAMES and 1 / 3 <= answer["probability"] <= 1 for answer in answers)

    (place / "texts.txt").write_text("eins\n\nzwei\x1b[31m\n", encoding="utf-8")
    assert main(["predict", adapter, "--file", str(place / "texts.txt")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "\x1b" not in lines[1]
    monkeypatch.setattr("sys.stdin", io.StringIO("drei\nvier\n"))
    assert main(["predict", adapter]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2

    for wrong in ([str(place / "texts.txt")], ["--pair", "zwei", "eins"], ["--file", str(place / "nowhere.txt")]):
        assert main(["predict", adapter, *wrong]) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_pairs_are_trained_on_and_asked_for(place, capsys):
    run = trained(place, "pairs.jsonl", class_names="dry,wet")
    assert run.result.data.pairs and run.task.class_names == ("dry", "wet")
    capsys.readouterr()
    assert main(["predict", str(run.folder), "--pair", "It is wet.", "It rains."]) == 0
    assert capsys.readouterr().out.startswith(("dry", "wet"))
    assert main(["predict", str(run.folder), "It rains."]) == 2
    assert "--pair" in capsys.readouterr().err


def test_another_base_than_the_recorded_one_predicts_nothing(three, place, capsys):
    file = place / "base" / "model.safetensors"
    kept = load_file(file)
    save_file({name: tensor + 1e-3 for name, tensor in kept.items()}, file, {"format": "pt"})
    try:
        assert main(["predict", str(three.folder), "eins"]) == 2
        assert "trained on another" in capsys.readouterr().err
    finally:
        save_file(kept, file, {"format": "pt"})


def test_records_of_schema_1_are_read(three, tmp_path):
    folder = shutil.copytree(three.folder, tmp_path / "old")
    table = pandas.read_parquet(folder / "predictions.parquet")
    logits = np.stack(table["scores"].to_list())[:, :2]
    old = table.drop(columns="scores").assign(logit_0=logits[:, 0], logit_1=logits[:, 1])
    old.to_parquet(folder / "predictions.parquet", index=False)
    np.testing.assert_array_equal(scores_of(type(three)(folder, three.result).predictions()), logits)
