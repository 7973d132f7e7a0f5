"""A run on data of one's own: any number of classes, one text or two; its record, its card, and what it predicts."""

import io
import json
import shutil

import numpy as np
import pandas
import pytest
from huggingface_hub import ModelCard
from long_texts import as_csv
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from small import ADAPTER

from course_utils.__main__ import main
from course_utils.audit.audit import audit_card
from course_utils.audit.findings import REFUTED
from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.runs import Run, load_model
from course_utils.tasks.classification import scores_of
from course_utils.training.export import check_pushable
from course_utils.training.train import train
from course_utils.workflow.check import check_inputs

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


@pytest.mark.parametrize(
    ("truncation", "kept"), [("head", "the beginning is read"), ("head_and_tail", "the first quarter of what is read")]
)
def test_the_start_and_the_card_say_what_is_read_of_a_long_text(place, truncation, kept):
    own = {"base_model": str(place / "base"), "data": str(as_csv(place, 60, most=12)), "methods": [ADAPTER]}
    experiment = load_experiment("smoke", own | {"precision": "fp32", "max_length": 32, "truncation": truncation})
    [said] = [line for line in check_inputs(experiment)["understood"] if line.startswith("training texts")]
    assert f"% are cut at max_length=32 ({kept}" in said and "0.0% are cut" not in said
    run = train(experiment.config(ADAPTER))
    assert f"- **Maximum Length:** 32 tokens; where a text is longer, {kept}" in run.card()
    assert ("This code reads the beginning alone." in run.card()) == (truncation != "head")
    assert not [finding for finding in audit_card(run.folder / "adapter") if finding.verdict == REFUTED]


def test_predict_takes_texts_as_people_have_them(three, place, capsys, monkeypatch):
    adapter = str(three.folder / "adapter")  # leads to its run
    assert main(["predict", adapter, "--json", "--", "-ein Satz", "zwei\x1b[31m"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["text"] for answer in answers] == ["-ein Satz", "zwei\x1b[31m"]
    assert all(answer["label"] in NAMES and 1 / 3 <= answer["probability"] <= 1 for answer in answers)

    (place / "texts.txt").write_text("eins\n\nzwei\x1b[31m\n", encoding="utf-8")
    assert main(["predict", adapter, "--file", str(place / "texts.txt")]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert "texts.txt: 1 empty line" in said.err
    assert len(lines) == 2 and "\x1b" not in lines[1]
    monkeypatch.setattr("sys.stdin", io.StringIO("drei\nvier\n"))
    assert main(["predict", adapter]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"gr\xfcn\n"), "utf-8"))
    assert main(["predict", adapter]) == 2
    assert "standard input cannot be read as lines of UTF-8" in capsys.readouterr().err

    for wrong in ([str(place / "texts.txt")], ["--pair", "zwei", "eins"], ["--file", str(place / "nowhere.txt")]):
        assert main(["predict", adapter, *wrong]) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_a_table_is_answered_row_by_row_as_the_run_was_evaluated(three, place, capsys, tmp_path):
    """Column and probabilities are those of the run's own data and record; CSV, JSON lines and Parquet alike."""
    rows = three.predictions().query("set == 'test'")
    texts = three.config.load_data().sets["test"].set_index("example_id").text[rows.example_id]
    table = pandas.DataFrame({"nr": range(len(texts)), "Inhalt": texts.to_list()})
    recorded = softmax(scores_of(rows), axis=1)
    table.to_csv(tmp_path / "in.csv", index=False)
    table.to_csv(tmp_path / "in.tsv", index=False, sep="\t")
    table.to_json(tmp_path / "in.jsonl", orient="records", lines=True)
    table.to_parquet(tmp_path / "in.parquet")
    for ending in ("csv", "tsv", "jsonl", "parquet"):
        words = ["predict", str(three.folder), "--file", str(tmp_path / f"in.{ending}")]
        assert main([*words, "--output", str(tmp_path / "out.csv")]) == 0
        answers = pandas.read_csv(tmp_path / "out.csv")
        assert answers.columns.to_list() == ["text", "label", "probability", *(f"probability_{name}" for name in NAMES)]
        np.testing.assert_allclose(answers.iloc[:, 3:], recorded, atol=1e-6)
        assert answers.text.to_list() == table.Inhalt.to_list()
        assert answers.label.to_list() == [NAMES[label] for label in recorded.argmax(axis=1)]
        np.testing.assert_allclose(answers.probability, recorded.max(axis=1), atol=1e-6)
    assert main([*words, "--column", "nr", "--to", "jsonl"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["text"] for answer in said] == [str(number) for number in table.nr]


def test_what_predict_writes_is_shown_as_text_and_whole_or_not_there(three, capsys, tmp_path, monkeypatch):
    texts = ["=1+1", "-5", "zwei\nZeilen\x1b[31m", "x" * 300]  # the last can be no file's name
    table = tmp_path / "in.jsonl"
    assert main(["predict", str(three.folder), "--to", "csv", "--", *texts]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and printed.count("\n") == 5
    shown = pandas.read_csv(io.StringIO(printed), dtype=str).text.to_list()
    assert shown == ["'=1+1", "-5", "zwei Zeilen [31m", "x" * 300]
    table.write_text("".join(f"{json.dumps({'sentence': text, 'label': 0})}\n" for text in texts))
    words = ["predict", str(three.folder), "--file", str(table)]
    (tmp_path / "out.jsonl").write_text("mine")
    monkeypatch.setattr("pathlib.Path.replace", None)  # an end before it is whole
    with pytest.raises(TypeError):
        main([*words, "--output", str(tmp_path / "out.jsonl")])
    assert (tmp_path / "out.jsonl").read_text() == "mine"
    monkeypatch.undo()
    assert main([*words, "--output", str(tmp_path / "out.jsonl")]) == 0
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [answer["text"] for answer in answers] == texts  # JSON keeps them as they are
    capsys.readouterr()

    # of two columns of other names, the texts are found by their values, as in training
    rows = pandas.DataFrame({"dept": ["a", "b"] * 10, "what": [f"text {n}" for n in range(20)]})
    rows.to_csv(tmp_path / "by_value.csv", index=False)
    assert main([*words[:3], str(tmp_path / "by_value.csv"), "--to", "csv"]) == 0
    assert pandas.read_csv(io.StringIO(capsys.readouterr().out)).text.to_list() == rows["what"].to_list()

    (tmp_path / "two.csv").write_text("Wort,Laut\na,b\n")
    (tmp_path / "gap.csv").write_text("text,n\na,1\n,2\n")
    for wrong, said in (
        ([*words, "--output", str(table)], "the texts are read from there"),
        ([*words, "--output", str(tmp_path / "nowhere" / "out.csv")], "--output"),
        ([*words, "--column", "Satz"], "no such column; type one of 'sentence' and 'label'"),
        ([*words, "--pair-column", "label"], "leave --pair and --pair-column out"),
        ([*words[:3], str(tmp_path / "two.csv")], "type --column NAME with 'Wort' and 'Laut'"),
        ([*words[:3], str(tmp_path / "gap.csv")], "gap.csv, line 3: there is no text"),
        ([*words[:2], "--column", "Satz", "eins"], "name columns of a table"),
        ([*words, "--json", "--to", "csv"], "exclude each other"),
        ([*words, "--output", str(tmp_path / "out.xlsx")], "type .csv, .jsonl or .txt, or --to"),
        ([*words[:2], " "], "a text is empty"),
        ([*words[:2], "--tokens", "5", "eins"], "leave --tokens out"),
        ([*words[:2], "\ud800"], "is not UTF-8"),
    ):
        assert main(wrong) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and said in error, error


@pytest.mark.parametrize(("columns", "words"), [(("Inhalt", "inhalt"), ()), (("text", "Text"), ("--column", "text"))])
def test_of_columns_that_differ_in_case_the_exact_name_is_classified(three, tmp_path, capsys, columns, words):
    pandas.DataFrame({columns[0]: ["eins"], columns[1]: ["zwei"]}).to_csv(tmp_path / "asked.csv")  # with an index
    assert main(["predict", str(three.folder), "--file", str(tmp_path / "asked.csv"), "--json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "eins"


def test_a_run_without_weights_is_not_pushed(three, tmp_path):
    folder = shutil.copytree(three.folder, tmp_path / "restored")
    (folder / "adapter" / "adapter_model.safetensors").unlink()
    config = three.config.model_copy(update={"base_model": "someone/tiny"})
    restored = Run(folder, three.result.model_copy(update={"config": config}))
    with pytest.raises(CourseError, match="has no weights, like every run restored from published records"):
        check_pushable(restored, "me/adapter")


def test_pairs_are_trained_on_and_asked_for(place, capsys):
    run = trained(place, "pairs.jsonl", class_names="dry,wet")
    assert run.result.data.pairs and run.task.class_names == ("dry", "wet")
    assert "tokenizer(text, text_pair," in run.card() and "pairs: " in run.card()
    capsys.readouterr()
    assert main(["predict", str(run.folder), "--pair", "It is wet.", "It rains."]) == 0
    assert capsys.readouterr().out.startswith(("dry", "wet"))
    assert main(["predict", str(run.folder), "It rains."]) == 2
    assert "--pair" in capsys.readouterr().err
    table = place / "asked.csv"
    pandas.DataFrame({"premise": ["It rains."], "hypothesis": ["It is wet."], "other": [""]}).to_csv(table, index=False)
    asked = ["predict", str(run.folder), "--file", str(table), "--json"]
    guessed, named, one = [], ["--column", "Premise", "--pair-column", "hypothesis"], ["--pair", "It is wet."]
    answers = [main([*asked, *words]) or capsys.readouterr().out for words in (guessed, named, [*one, *named[:2]])]
    assert len({*answers}) == 1 and json.loads(answers[0])["text_pair"] == "It is wet."


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
