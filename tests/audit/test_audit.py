"""The audit of model cards: every kind of lie is refuted, the truth holds, and no text makes it stumble."""
# ruff: noqa: E501  (cards are long lines)

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hub_stand_in import stand_in
from huggingface_hub import constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import write_run
from safetensors.numpy import save_file
from small import ADAPTER

from course_utils.__main__ import main
from course_utils.audit.audit import EXAMPLE_CARD, audit_card
from course_utils.audit.findings import HOLDS, MISSING, REFUTED, UNCHECKED
from course_utils.comparison.published import MEASURED, sha256_of
from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.paths import PROJECT
from course_utils.report import exhibits
from course_utils.runs import read_run
from course_utils.tasks.classification import score
from course_utils.training.card import write_card

CARDS = PROJECT.parent / "shared" / "reference" / "cards"
TITLES = {"validation": "validation", "test": "movie test", "tweets": "tweets"}


def write_adapter(folder, width, **config):
    """A LoRA adapter of zeros with rank 8 on query and value of six layers, and a head: float32, `width` wide."""
    prefix, tensors = "base_model.model.", {}
    for layer in (f"distilbert.transformer.layer.{i}.attention.{n}" for i in range(6) for n in ("q_lin", "v_lin")):
        tensors[f"{prefix}{layer}.lora_A.weight"] = np.zeros((8, width), np.float32)
        tensors[f"{prefix}{layer}.lora_B.weight"] = np.zeros((width, 8), np.float32)
    for name, rows in {"pre_classifier": width, "classifier": 2}.items():
        tensors[f"{prefix}{name}.weight"] = np.zeros((rows, width), np.float32)
        tensors[f"{prefix}{name}.bias"] = np.zeros(rows, np.float32)
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config |= {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["v_lin", "q_lin"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def run(runs_in):
    """A finished LoRA run with an adapter of zeros, whose record and card are true."""
    folder = write_run(load_experiment("smoke").config(ADAPTER), 0.8).folder
    saved = ["pre_classifier", "classifier", "score"]
    base = "assets/minilm-distilbert"
    write_adapter(folder / "adapter", 384, base_model_name_or_path=base, lora_dropout=0.1, modules_to_save=saved)
    random, frames, metrics = np.random.default_rng(0), [], {}
    for name, n, signal in (("validation", 120, 1.0), ("test", 200, 1.0), ("tweets", 80, 0.4)):
        labels = random.integers(2, size=n)
        logits = random.normal(size=(n, 2)) + signal * np.eye(2)[labels]
        frames.append(pd.DataFrame({"set": name, "label": labels, "scores": list(logits)}))
        metrics[name] = score(logits, labels)
    pd.concat(frames).to_parquet(folder / "predictions.parquet", index=False)
    record = json.loads((folder / "result.json").read_text())
    sizes = {"train": 100} | {name: of_set["n"] for name, of_set in metrics.items()}
    record["data"] |= {"sizes": sizes, "titles": {"train": "training"} | TITLES}
    record |= {
        "parameters": {
            "adapter": 73_728, "head": 148_610, "trainable": 222_338,
            "total": 22_786_946, "total_as_peft_counts": 22_935_556,
        },
        "bytes": {"adapter": 294_912, "head": 594_440, "base_model": 90_262_528},
        "metrics": metrics, "files": {}, "checksum": None,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(record))
    made = read_run(folder)
    write_card(made)
    return made


def verdicts(findings):
    return {finding.claim: finding.verdict for finding in findings}


def refuted(findings):
    return [finding for finding in findings if finding.verdict == REFUTED]


def test_a_card_of_ours_holds_in_everything(run, capsys):
    card = run.folder / "adapter" / "README.md"
    assert main(["audit", str(card)]) == 0
    assert "0 refuted" in capsys.readouterr().out
    found = verdicts(audit_card(card))
    assert found["22,786,946 or 22,935,556 parameters, 222,338 of them trainable"] == HOLDS
    for claim in (
        "Rank 8",
        "Dropout 0.1",
        "148,610 the classification head",
        "base model of 90.26 MB",
        "Batch Size 16",
    ):
        assert next(v for c, v in found.items() if c.startswith(claim)) == HOLDS
    for title in ("Validation", "Movie test", "Tweets"):
        assert all(
            v == HOLDS
            for c, v in found.items()
            if c.startswith((f"{title}: ", f"Metadata, {title}")) and "Diff" not in c
        )


@pytest.mark.slow
def test_alone_it_is_as_true_but_less_is_known(run, tmp_path):
    """A card without its adapter; and one of a method whose ranks only the adapter tells."""
    card = tmp_path / "alone.md"
    card.write_text(run.card())
    assert not refuted(audit_card(card))
    sparse = run.card().replace("LoRA", "Sparse LoRA").replace("0.98%", "0.97%")
    for count in ("22,786,946", "22,935,556", "222,338", "73,728"):
        sparse = sparse.replace(count, f"{int(count.replace(',', '')) - 768:,}")
    card.write_text(sparse)
    assert not refuted(audit_card(card))
    assert main(["audit", str(card), "--adapter", str(run.folder / "adapter")]) == 1  # which does know its ranks


LIES = [
    ("- **Total Parameters:** 22,786,946", "- **Total Parameters:** 22,786,947", "22,786,947 or"),
    ("- **Trainable Parameters:** 222,338", "- **Trainable Parameters:** 221,338", "221,338 of them trainable"),
    ("73,728 are the adapter", "73,738 are the adapter", "73,738 are the adapter"),
    ("(0.98% of total", "(1.98% of total", "1.98% trainable"),
    ("- **Rank:** 8", "- **Rank:** 16", "Rank 16"),
    ("- **Alpha:** 16", "- **Alpha:** 32", "Alpha 32"),
    ("- **Dropout:** 0.1", "- **Dropout:** 0.05", "Dropout 0.05"),
    ("`q_lin`, `v_lin`", "`q_lin`, `k_lin`", "Target modules `q_lin`, `k_lin`"),
    ("- **Method:** LoRA", "- **Method:** HiRA", "Method HiRA"),
    ("sentence-transformers/all-MiniLM-L6-v2", "bert-base-uncased", "Base model bert-base-uncased"),
    ("- **Base Model:** [sentence-transformers/all-MiniLM-L6-v2]", "- **Base Model:** [roberta-base]", "Base model"),
    ("0.89 MB (", "2.89 MB (", "2.89 MB"),
    ("0.59 MB head", "0.69 MB head", "0.69 MB head"),
    ("base model of 90.26 MB", "base model of 45.26 MB", "base model of 45.26 MB"),
    (r"\| Movie test \| 200 \| 0\.\d+", "| Movie test | 200 | 0.7777", "Movie test: accuracy 0.7777"),  # 155.54 of 200
    (r"\| Movie test \| 200 \| (0\.\d+) \[0\.\d+", r"| Movie test | 200 | \1 [0.123", "Movie test: accuracy"),
    (r"\| Movie test \| 200 \| (0\S+ \[.*?\]) \| 0\.\d+", r"| Movie test | 200 | \1 | 0.1234", "Movie test: F1 0.1234"),
    (r"\| Tweets \| 0\.\d+ \|", "| Tweets | 0.9125 |", "Tweets: accuracy 0.9125"),  # 73 of 80, but not these
    (r"type: nll\n      value: 0\.\d+", "type: nll\n      value: 0.0999", "Metadata, Validation"),
    (r"type: macro_f1\n      value: 0\.\d+", "type: macro_f1\n      value: 0.0999", "Metadata, Validation: macro_f1"),
    (r"type: brier\n      value: 0\.\d+", "type: brier\n      value: 9.99e-2", "Metadata, Validation: brier"),
    (r"Learning Rate:\*\* \S+", "Learning Rate:** 5e-1", "Learning Rate 5e-1"),
    (r"Number of Epochs:\*\* \d+", "Number of Epochs:** 30", "Number of Epochs 30"),
    (r"Precision:\*\* \S+", "Precision:** int8", "Precision int8"),
    (r"(?<=of )\d+ steps", "9,999 steps", "9,999 steps"),
    (r"Training Time:\*\* \S+", "Training Time:** 0.4", "Training Time 0.4"),
]  # fmt: skip


@pytest.mark.parametrize(("true", "lie", "claim"), LIES, ids=[claim for _, _, claim in LIES])
def test_a_lie_is_refuted(run, true, lie, claim):
    path, pattern = run.folder / "adapter" / "README.md", true if "\\" in true else re.escape(true)
    card, count = re.subn(pattern, lie, run.card())
    assert count
    path.write_text(card)
    assert any(claim.lower() in finding.claim.lower() for finding in refuted(audit_card(path)))
    assert main(["audit", str(path)]) == 1


def test_the_published_claims():
    assert main(["audit", str(EXAMPLE_CARD)]) == 1
    findings = audit_card(EXAMPLE_CARD)
    (count,) = refuted(findings)
    assert "739,586 trainable of 67,694,596" in count.found and "67,102,466 with the saved modules once" in count.found
    assert "those of bert-base-uncased with rank 8 on query, key, value" in count.found
    accuracy = next(finding for finding in findings if finding.claim.startswith("Test Accuracy"))
    assert accuracy.verdict == HOLDS and "0.902 to 0.938" in accuracy.found
    assert "804 of the 872" in accuracy.found and "1,679 of the 1,821" in accuracy.found


PRINTED_BY_PEFT = "trainable params: {} || all params: {} || trainable%: {}"
QV = "Rank: 8\nTarget modules: query, value"


def card_of(text, **metadata):
    head = "".join(f"{name}: {value}\n" for name, value in metadata.items())
    return f"---\nlibrary_name: peft\n{head}---\n# An adapter\n\n{text}\n"


def findings_of(tmp_path, base, text, **metadata):
    (tmp_path / "README.md").write_text(card_of(text, base_model=base, **metadata))
    return [f for f in audit_card(tmp_path / "README.md") if f.kind != "completeness" and f.verdict != MISSING]


@pytest.mark.parametrize(
    ("base", "text", "verdict"),
    [
        ("distilbert-base-uncased", "Rank: 8\nTarget modules: q_lin, v_lin\n" + PRINTED_BY_PEFT.format("739,586", "67,694,596", "1.0925"), HOLDS),
        ("google-bert/bert-base-uncased", f"Trainable params: 0.30M\nTotal params: 109.8M\n{QV}", HOLDS),
        ("roberta-base", f"Trainable params: 887,811\nTotal params: 125.535.750\n{QV}", HOLDS),  # three classes
        ("bert-base-uncased", f"Total params: 67,102,466\nTrainable params: 739,586\n{QV}", REFUTED),
        ("bert-base-uncased", "Total params: 109.8M\nRank: 8\nTarget modules: q_lin", REFUTED),  # it has no q_lin
        ("bert-base-uncased", "Total params: 67.1M", UNCHECKED),  # of which rank, on which layers?
        ("bert-base-uncased", f"Total params: about 67M\nTrainable params: 739,586\n{QV}", UNCHECKED),
        ("bert-base-uncased", "Total params: 100M\nMethod: prefix tuning\nTrainable params: 184,320", UNCHECKED),
        ("meta-llama/Llama-2-7b-hf", "Rank: 8\nTarget modules: q_proj, v_proj\n" + PRINTED_BY_PEFT.format("4,194,304", "6,742,609,920", "0.0622"), HOLDS),
        ("meta-llama/Llama-2-7b-hf", "Loaded in 4-bit\nRank: 8\nTarget modules: q_proj, v_proj\n" + PRINTED_BY_PEFT.format("4,194,304", "3,504,607,232", "0.1197"), UNCHECKED),
        ("nobody/knows", f"Trainable params: 887,811\nTotal params: 125,534,214\n{QV}", UNCHECKED),
    ],
)  # fmt: skip
def test_counts_of_other_peoples_cards(tmp_path, base, text, verdict):
    assert [f.verdict for f in findings_of(tmp_path, base, text) if f.kind == "count"] == [verdict]


ROWS = "| {} | {} | Accuracy |\n|---|---|---|\n| {} | {} | {} |"


@pytest.mark.parametrize(
    ("text", "verdicts"),
    [
        ("Validation accuracy: 91.3%", [HOLDS]),  # 796 of 872
        ("Accuracy: 0,9037", [HOLDS]),  # 788
        ("Accuracy: 0.9221", [UNCHECKED]),  # of a split of its own, for all that is said
        ("SST-2 validation accuracy: 0.9221", [REFUTED]),
        ("SST-2 validation accuracy: 0.9221 over a random subset", [UNCHECKED]),
        ("Accuracy on 150 sentences: 0.8733", [HOLDS]),
        ("Accuracy on 150 sentences: 0.8755", [REFUTED]),
        (ROWS.format("Set", "Sentences", "SST-2 validation", "900", "0.9"), [HOLDS, REFUTED]),  # it has 872
        (ROWS.format("Epoch", "Step", "1", "2", "0.5"), []),
        (ROWS.format("Model", "Rank", "Full fine-tuning", "-", "0.5555"), []),
        ("Accuracy: 85.46 ± 0.58 (5 seeds)", [UNCHECKED]),
        ("Accuracy: 1.5 on SST-2 validation", [UNCHECKED]),  # a share or a percentage, for all that is said
        ("Accuracy: 1.000 on SST-2 validation", [HOLDS]),
        ("- Accuracy of 0.5003 on SST-2 validation (n = 872)", [REFUTED]),
        ("Test accuracy: 0.9220\nTest F1: 0.9999", [HOLDS, REFUTED]),
        ("Test accuracy: 0.9220\nTest F1: 0.9220", [HOLDS, HOLDS]),
        ("Eval loss: 2.0\nEval perplexity: 7.389", [HOLDS]),
        ("Eval loss: 2.0\nEval perplexity: 4.9", [REFUTED]),
        ("Training loss: 2.0\nEval perplexity: 4.9", [UNCHECKED]),  # of other examples
        ("Loss: 2.0\nPerplexity: 4.9", [UNCHECKED]),  # of which, is not said
        ("Perplexity: 1.00001", [UNCHECKED]),
        ("Accuracy: 85%\nTP: 45\nFP: 10\nFN: 8\nTN: 37", [REFUTED]),
        ("<table><tr><th>Metric</th><th>Value</th></tr><tr><td>Accuracy</td><td>0.9220</td></tr></table>", [HOLDS]),
        ("- **Accuracy:** [More Information Needed]", []),
    ],
)
def test_scores_of_other_peoples_cards(tmp_path, text, verdicts):
    found = findings_of(tmp_path, "x", text, datasets="[sst2]")
    assert [f.verdict for f in found if f.kind in ("score", "data set")] == verdicts


RESULTS = "[{{name: x, results: [{{task: {{type: t}}, dataset: {{name: mine, type: mine}}, metrics: [{{type: accuracy, value: {}}}]}}]}}]"


@pytest.mark.parametrize(("value", "verdicts"), [(0.9, [UNCHECKED]), (0.95, [UNCHECKED, UNCHECKED])])
def test_metadata_that_differ_from_the_text_are_two_values_and_no_proof(tmp_path, value, verdicts):
    found = findings_of(tmp_path, "x", "Accuracy: 90%", **{"model-index": RESULTS.format(value)})
    assert [f.verdict for f in found if f.kind == "score"] == verdicts
    assert any("two different values" in f.found for f in found) == (len(verdicts) > 1)


@pytest.mark.parametrize(
    ("difference", "verdict"), [("-0.05", HOLDS), ("−5 points", HOLDS), ("+0.05", REFUTED), ("-0.03", REFUTED)]
)
def test_a_difference_is_held_to_the_accuracies_that_it_is_of(tmp_path, difference, verdict):
    sets = "| Set | Accuracy |\n|---|---|\n| Test | 0.85 |\n\nElsewhere:\n\n| Set | Accuracy | Difference to the test set |\n|---|---|---|\n"
    found = findings_of(tmp_path, "x", f"{sets}| Tweets | 0.80 | {difference} |")
    assert [f.verdict for f in found if "ifference" in f.claim] == [verdict]


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("Adapter dtype: float32", HOLDS),
        ("Stored type: fp32", HOLDS),
        ("Adapter dtype: bf16", REFUTED),
        ("dtype: bfloat16", UNCHECKED),  # of the base, for all that is said
        ("Precision: bf16", None),
    ],
)
def test_a_type_of_numbers_is_held_to_the_file(run, line, verdict):
    (run.folder / "adapter" / "README.md").write_text(f"---\nlibrary_name: peft\n---\n# An adapter\n\n- {line}\n")
    found = verdicts(audit_card(run.folder / "adapter"))
    assert found.get(line.replace(":", "")) == verdict


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "- LoRA rank / alpha / dropout: 8 / 32 / 0.1",
            {"LoRA rank 8": HOLDS, "alpha 32": REFUTED, "dropout 0.1": HOLDS},
        ),
        ("- LoRA: r=4, alpha=16", {"r 4": REFUTED, "alpha 16": HOLDS}),
        ("| Target modules | `q_lin`, `v_lin` |", {"Target modules `q_lin`, `v_lin`": HOLDS}),
    ],
)
def test_settings_on_one_line(run, text, expected):
    header = "| Setting | Value |\n|---|---|\n" if text.startswith("|") else ""
    (run.folder / "adapter" / "README.md").write_text(card_of(header + text))
    assert verdicts(audit_card(run.folder / "adapter")).items() >= expected.items()


def test_rows_of_several_models_are_checked_where_they_name_the_adapter_s_method_and_never_refuted(run):
    table = "| Method | Accuracy on 150 sentences |\n|---|---|\n| Full | 0.5555 |\n| LoRA | {} |"
    for value, verdict in {"0.8733": HOLDS, "0.8755": UNCHECKED}.items():
        (run.folder / "adapter" / "README.md").write_text(card_of(table.format(value)))
        scores = [f.verdict for f in audit_card(run.folder / "adapter") if f.kind == "score"]
        assert scores == [verdict]


def test_an_id_of_the_hub(run, tmp_path, monkeypatch, capsys):
    """Against a stand-in of the hub: an adapter that is there, one that lies, one that is not there, and no network."""
    with stand_in() as hub:
        files = {f.name: f.read_bytes() for f in (run.folder / "adapter").iterdir() if f.is_file()}
        lie = {"README.md": files["README.md"].replace(b"Rank:** 8", b"Rank:** 16")}
        hub.files |= {"some/adapter": files, "some/liar": files | lie}
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        for name, status in {"some/adapter": 0, "some/liar": 1, "no/body": 2, "some/body": 2}.items():
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", name == "some/body")
            assert main(["audit", name]) == status
    assert capsys.readouterr().err.count("the hub gives no such model") == 2


def test_a_base_s_name_is_no_data_set(tmp_path):
    base = "distilbert-base-uncased-finetuned-sst-2-english"
    (accuracy,) = findings_of(tmp_path, base, f"Accuracy: 0.9221, from {base}")
    assert accuracy.verdict == UNCHECKED


@pytest.mark.parametrize("folder", sorted(CARDS.iterdir()) if CARDS.is_dir() else [], ids=lambda path: path.name)
def test_the_public_cards(folder):
    """What is false of them, found by hand (reference/cards/README.md)."""
    if not folder.is_dir():
        return
    false = tomllib.loads(Path(__file__).with_name("public_cards.toml").read_text("utf-8"))
    assert {finding.kind for finding in refuted(audit_card(folder))} == set(false.get(folder.name, []))


def test_several_at_once_and_as_json(run, capsys):
    card = str(run.folder / "adapter")
    assert main(["audit", card, str(EXAMPLE_CARD)]) == 1
    assert "Refuted" in capsys.readouterr().out
    assert main(["audit", "--json", card]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["schema"] == 1 and written["refuted"] == 0 and written["cards"][0]["card"] == card
    assert set(written["cards"][0]["findings"][0]) == {"claim", "verdict", "found", "kind"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no text"),
        (b" \n\n", "no text"),
        (b"\x89PNG\r\n\x1a\n\xff", "UTF-8"),
        (b"abc\0def", "not text"),
        (b'{"base_model": "bert"}', "JSON"),
        (b"A letter to a friend.\n", "claims nothing"),
    ],
)
def test_what_is_no_card(tmp_path, capsys, content, why):
    file = tmp_path / "file"
    file.write_bytes(content)
    assert main(["audit", str(file)]) == 2
    assert why in capsys.readouterr().err


def test_where_there_is_no_card_or_adapter(run, tmp_path, capsys):
    assert main(["audit", str(tmp_path)]) == 2 and "README.md" in capsys.readouterr().err
    assert main(["audit", str(tmp_path / "none.md")]) == 2 and "no file" in capsys.readouterr().err
    assert main(["audit", str(EXAMPLE_CARD), "--adapter", str(tmp_path)]) == 2
    assert "holds no adapter" in capsys.readouterr().err
    adapter = run.folder / "adapter"
    (adapter / "adapter_model.safetensors").write_bytes(b"damaged")
    assert main(["audit", str(adapter / "README.md")]) == 2 and "damaged" in capsys.readouterr().err
    (adapter / "adapter_config.json").write_text('{"r": []}')
    assert main(["audit", str(adapter / "README.md")]) == 2 and "damaged" in capsys.readouterr().err


PIECES = [
    "---\n", "base_model: bert-base-uncased\n", "base_model: [[1]]\n", "model-index: [{name: x, results: [1]}]\n",
    "{a: *b}", "# Results\n", "- **Rank (r):** ", "- **Total Parameters:** ", "- **Trainable Parameters:** ", "```\n",
    "- **Model Size:** ", "- Test Accuracy: ", "- Test F1: ", "- Target Modules: ", "`query`", "| a | 10 | ",
    "| Set | Sentences | Accuracy | F1 |\n|--|--|--|--|\n", " [0.1, 0.2] |", "Difference to the test set | ", "SST-2",
    "0.9220", "99%", "1e400", "0", "9" * 400, "443,906", "109.9M", " MB", "N/A", "\n", "\n", "\n", "||", "nan", "−",
    "٣", "\u202e",
]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)))
def test_no_text_makes_it_stumble(tmp_path, text):
    card = tmp_path / "card.md"
    card.write_text(text, encoding="utf-8", errors="ignore")
    try:
        findings = audit_card(card)
    except CourseError:
        return
    assert findings and {finding.verdict for finding in findings} <= {HOLDS, REFUTED, UNCHECKED, MISSING}
    assert all(finding.claim.isprintable() for finding in findings)


@pytest.mark.parametrize("piece", ["[", "{a: ", "- ", "? "])
@pytest.mark.parametrize("depth", [1_500, 100_000])
def test_metadata_that_nests_without_end_is_a_card_without_metadata(tmp_path, piece, depth):
    (tmp_path / "card.md").write_text(f"---\n{piece * depth}\n---\n# A card\n\n- **Rank:** 8\n")
    assert {finding.verdict for finding in audit_card(tmp_path / "card.md")} == {UNCHECKED, MISSING}


def test_the_chapter_shows_an_audit_and_sums_up_those_of_its_runs(run, runs_in, shown):
    experiment = load_experiment("smoke")
    results = type("Results", (), {"runs": [run], "experiment": experiment})()
    exhibits.audits(results)
    table, _, sentence = shown
    assert set(table["Verdict"]) == {HOLDS, REFUTED, UNCHECKED, MISSING}
    assert "none is refuted" in sentence
    path = run.folder / "adapter" / "README.md"
    path.write_text(path.read_text().replace("- **Rank:** 8", "- **Rank:** 16"))
    (runs_in / "smoke" / MEASURED).unlink()
    exhibits.audits(results)
    assert "1 is refuted" in shown[-1] and "Rank 16" in shown[-1]


@pytest.fixture(scope="module")
def distilbert(tmp_path_factory):
    """A LoRA adapter of DistilBERT with a trained head: 147,456 and 592,130 numbers, 2.96 MB."""
    known = {"task_type": "SEQ_CLS", "base_model_name_or_path": "distilbert-base-uncased", "use_dora": False}
    saved = ["classifier", "score"]
    return write_adapter(tmp_path_factory.mktemp("adapter"), 768, **known, lora_dropout=0.0, modules_to_save=saved)


AS_PEFT_PRINTS = "\n\ntrainable params: 739,586 || all params: 67,694,596 || trainable%: 1.0925"
TRUE = [
    "Total parameters: 67.7M (739,586 trainable)",
    "Total parameters: 67,694,596 (66,362,880 in the base + the adapter)",
    "Total parameters: 66.4M (base) + 0.74M (LoRA and head)",
    "Total parameters: 739,586 in the adapter",
    "Total: 12,630 steps",
    "Trainable parameters: 1.09% (of 67.7M)",
    "Trainable parameters: 739,586 (1.09%, against 100% of full fine-tuning)",
    "Trainable parameters: 739,586 (98.9% frozen)",
    "Trainable parameters: reduced by 98.9% to 739,586",
    "Trainable parameters: 592,130 (head) and 147,456 (adapter)",
    "Trainable parameters: 592,130 in the head alone",
    "Trainable parameters: 740 thousand",
    "Trainable parameters: 0.7–0.8M",
    "Trainable parameters: 0,74 Mio. von 67,7 Mio. (1,09 %)",
    "Trainable parameters: 90 times fewer than full fine-tuning (66,955,010)",
    "Trainable parameters: 24,576 per layer (6 layers)",
    "Trainable parameters: 12 x 12,288 + 592,130",
    "Trainable parameters: 6 layers × 2 modules × 12,288",
    "Trainable parameters: 1,09 % der 67,7 Mio. Parameter",
    "Trainable parameters: 66,955,010 (full fine-tuning) vs. 739,586 (LoRA)",
    "Trainable parameters: 665,858 (rank 4), 739,586 (rank 8), 887,042 (rank 16)",
    "Full fine-tuning has 66,955,010 trainable parameters, LoRA 739,586.",
    f"Trainable percentage: 0.22% (LoRA only){AS_PEFT_PRINTS}",
    "Rank: searched over 4, 8 and 16",
    "Rank: 4, 8 or 16",
    "Rank: 2^3",
    "Rank: 1% of the width (768)",
    "Alpha: 2 x rank",
    "Alpha: 2 times the rank",
    "Dropout: 0 %",
    "Dropout: 0.1 for the head, none for LoRA",
    "Method: better than IA3",
    "Target modules: all attention layers",
    "Target modules: query and value",
    "Target modules: the `query` and `value` projections",
    "Target modules: W_q and W_v",
    "Target modules: `attention`",
    "Target modules: `q_lin`, `v_lin` / modules to save: `classifier`, `pre_classifier`, `score`",
    "Target modules: `q_lin`, `v_lin`; `classifier` is trained in full",
    "Target modules: `q_lin`, `v_lin` (not `k_lin`, `out_lin`)",
    "Target modules: `nn.Linear` layers `q_lin` and `v_lin`",
    "Target modules: `q_lin` and `v_lin` in `distilbert.transformer.layer.0-5`",
    "Model size: 268 MB base model + 2.96 MB adapter",
    "Model size: 268 MB (adapter: 3 MB)",
    "Model size: 268 MB with head",
    "Model size: x5 MB",
    "Adapter size: about 3 MB",
    "Adapter size: 2.96 MB adapter file",
    "Adapter size: 3 MB (the base model has 268 MB)",
    "Adapter size: 2.96 MB; training took 1.5 GB of memory",
    "Adapter size: 90 times smaller than the model (268 MB)",
    "Adapter size: 1.1% of 268 MB",
    "Adapter dtype: bf16 during training",
    "Accuracy: measured on 1821 sentences",
    "SST-2 dev accuracy: 2.15 pp above the baseline",
    "SST-2 validation accuracy: 90.37 %, trained on 67,349 examples",
    "SST-2 validation accuracy: 0.9037 (300 examples per second)",
    "SST-2 validation accuracy: 0.9037 from 1,000 training examples",
    "SST-2 validation accuracy: 0.9037 (24 sentences fewer right than full fine-tuning)",
    "SST-2 validation accuracy: 0.9037 after 12,630 steps of 16 examples",
    "SST-2 validation accuracy: 0.8991 / 0.9014 / 0.9037 (epochs 1 to 3)",
    "Base model: distilbert",
    "Base model: the 66M-parameter DistilBERT",
    "Base model: a distilled BERT",
    "Base model: an encoder",
    "Sparsity: 0.5",
    "Sparsity: 98.9% of the parameters are frozen",
]
FALSE = [
    "Total parameters: 110M",
    "Trainable parameters: 592,130 (head) and 147,457 (adapter)",
    "Trainable parameters: 887,042 (1.3%)",
    "Trainable parameters: 739,586 (2.5%)",
    f"Trainable percentage: 0.45%{AS_PEFT_PRINTS}",
    "Rank: 16 on a frozen base model",
    "LoRA rank: 4 (we also tried 16)",
    "Dropout: 0.2 for LoRA",
    "Method: DoRA (r=8)",
    "Target modules: ['query', 'value']",
    "Target modules: q_lin, k_lin, v_lin",
    "Target modules: `q_lin`, `k_lin`; `classifier` is trained in full",
    "Target modules: the attention layers `q_lin`, `k_lin` and `v_lin`",
    "Model size: 268 MB base model + 1.18 MB adapter",
    "Adapter size: 5.92 MB adapter file",
    "Adapter size: 2.96 MB (1.18 MB LoRA + 2.37 MB head)",
    "SST-2 dev accuracy: 90.42%, better than full fine-tuning",
    "SST-2 validation accuracy: 0.9037 on 900 examples",
    "Base model: BERT base uncased",
    "Base model: Mistral 7B",
]


@pytest.mark.parametrize(("text", "is_false"), [(text, text in FALSE) for text in TRUE + FALSE])
def test_a_statement_is_refuted_where_no_reading_of_it_is_true(distilbert, tmp_path, text, is_false):
    head = "---\nbase_model: distilbert-base-uncased\nlibrary_name: peft\ndatasets: [sst2]\n---\n# LoRA\n\n"
    label, colon, value = text.partition(": ")
    (tmp_path / "README.md").write_text(f"{head}{f'- **{label}:** {value}' if colon else text}\n")
    assert bool(refuted(audit_card(tmp_path / "README.md", distilbert))) == is_false


def test_a_difference_in_points_and_a_number_of_classes_are_no_accuracy_and_no_examples(tmp_path):
    said = "It tells the 2 classes apart in texts. Elsewhere its accuracy is 17.3 points lower than on its test set."
    assert not [finding for finding in findings_of(tmp_path, "bert-base-uncased", said) if finding.kind == "score"]


def test_predictions_that_are_not_those_of_the_record_prove_nothing(run):
    card, file, record = run.folder / "adapter" / "README.md", run.folder / "predictions.parquet", run.result
    known = record.model_copy(update={"files": {file.name: sha256_of(file)}})
    (run.folder / "result.json").write_text(known.model_dump_json())
    scored = [found for found in audit_card(card) if "predictions" in found.found]
    assert scored and all(found.verdict == HOLDS for found in scored)
    answers = pd.read_parquet(file)
    right = [[float(label == named) for named in (0, 1)] for label in answers["label"]]
    answers.assign(scores=right).to_parquet(file, index=False)
    assert not [found for found in audit_card(card) if "predictions" in found.found]


@pytest.mark.parametrize("share", [794 / 872, 761 / 872])
def test_a_number_of_32_bits_that_is_written_out_is_the_one_that_it_stands_for(tmp_path, share):
    card = tmp_path / "card.md"
    for told, verdict in ((float(np.float32(share)), HOLDS), (share + 1e-5, REFUTED)):
        form = ".16f" if share > 0.9 else ".7e"
        card.write_text(f"Validation accuracy: {told:{form}} (872 examples)")
        assert {found.verdict for found in audit_card(card)} - {MISSING} == {verdict}
