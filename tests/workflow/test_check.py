"""The rehearsal: whatever a base model's folder holds, it trains, or one sentence says why not before any work."""

import json
import shutil
from pathlib import Path

import pandas
import pytest
from safetensors.torch import load_file, save_file
from small import FULL, HEAD, PLAIN, WIDTH
from transformers import AutoModelForSequenceClassification, DebertaConfig, DistilBertConfig

from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.inputs.bases import Base
from course_utils.workflow.check import check_inputs, understood, write_inputs

TINY = {"vocab_size": 30_522, "n_layers": 1, "dim": WIDTH, "n_heads": 4, "hidden_dim": WIDTH}


@pytest.fixture
def folder(tmp_path, tiny):
    """A copy of the tiny base, to spoil."""
    return shutil.copytree(tiny.location, tmp_path / "base")


def check(folder, **overrides):
    usual = {"base_model": str(folder), "methods": [HEAD, PLAIN.name], "max_train": 20}
    return check_inputs(load_experiment("smoke", usual | overrides))["understood"]


def save(folder, **config):
    model = AutoModelForSequenceClassification.from_config(DistilBertConfig(**TINY, **config))
    model.save_pretrained(folder)


@pytest.mark.parametrize(
    "head",
    [{"num_labels": 3}, {"num_labels": 1}, {"num_labels": 5, "problem_type": "multi_label_classification"}],
    ids=["three classes", "regression", "multi-label"],
)
def test_the_head_of_another_task_is_drawn_anew(folder, head):
    save(folder, **head)
    said = check(folder, methods=[HEAD, PLAIN.name, FULL])
    assert any("1 layers" in line or "2 layers" in line for line in said)


def test_a_masked_token_model_keeps_its_encoder_alone(folder):
    from transformers import DistilBertForMaskedLM

    DistilBertForMaskedLM(DistilBertConfig(**TINY)).save_pretrained(folder)
    assert check(folder)


def test_a_sentence_transformers_folder_gives_its_transformer(tmp_path, folder):
    outer = tmp_path / "outer"
    shutil.copytree(folder, outer / "0_Transformer")
    (outer / "modules.json").write_text(
        json.dumps([{"idx": 0, "path": "0_Transformer"}, {"idx": 1, "path": "1_Pooling"}])
    )
    assert Base(str(outer)).location.endswith("0_Transformer") and check(outer)


def without_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


def tokens_beyond(folder):
    tokenizer = Base(str(folder)).tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<pad of its own>"})
    tokenizer.save_pretrained(folder)


def pointer(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def shard(folder):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def fewer_positions(folder):
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "position_embeddings" in name)
    save_file(weights | {name: weights[name][:30].contiguous()}, folder / "model.safetensors", {"format": "pt"})


def no_numbers(folder):
    weights = {name: tensor * float("nan") for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_tokenizer, "tokenizer"),
        (tokens_beyond, r"resize_token_embeddings\(30523\)"),
        (pointer, "git lfs pull"),
        (shard, "model-00002-of-00002.safetensors is missing"),
        (fewer_positions, "of another size.*position_embeddings"),
        (no_numbers, "cannot be trained with .*not a finite number"),
    ],
)
def test_what_would_fail_in_training_is_told_before(folder, spoil, message):
    spoil(folder)
    with pytest.raises(CourseError, match=message) as told:
        check(folder)
    assert len(str(told.value)) < 600 and "Traceback" not in str(told.value)


def test_a_model_that_has_no_bf16_is_told_or_trains(folder):
    sizes = {"vocab_size": 30_522, "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 4}
    relative = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "intermediate_size": WIDTH}
    AutoModelForSequenceClassification.from_config(DebertaConfig(**sizes, **relative)).save_pretrained(folder)
    try:
        assert check(folder, precision="bf16", target_modules="in_proj")
    except CourseError as told:
        assert "cannot be trained with" in str(told)


def test_what_was_understood_is_said_and_kept(tmp_path, folder, runs_in):
    table = pandas.DataFrame({"Review": [f"text {n} x" for n in range(90)], "Stars": [n % 3 + 1 for n in range(90)]})
    table.to_csv(tmp_path / "reviews.csv", index=False)
    experiment = load_experiment("smoke", {"base_model": str(folder), "data": str(tmp_path / "reviews.csv")})
    assert understood(experiment) == []
    write_inputs(experiment)
    said = "\n".join(understood(experiment))
    for fact in (
        "an encoder",
        "q_lin and v_lin",
        "classes in training: 1 ",
        "'Review'",
        "'Stars'",
        "cut at max_length",
    ):
        assert fact in said, fact
    assert understood(load_experiment("smoke", {"base_model": str(folder)})) == [] and "note:" not in said


def test_files_that_are_not_read_and_cut_further_sets_are_noted(tmp_path, folder, runs_in):
    rows = "text,label\n" + "".join(f"text {n} x,{n % 2}\n" for n in range(200))
    for name in ("own/train.csv", "own/testset.csv", "own/notes.txt", "further.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(rows.replace("text ", f"{Path(name).stem} "))
    said = "\n".join(
        check(folder, data=str(tmp_path / "own"), also_evaluate=str(tmp_path / "further.csv"), max_test=45)
    )
    assert (
        "not read, as no name has train, dev or test as its first word: testset.csv" in said and "notes.txt" not in said
    )
    assert "and max_test=45 leave texts out" in said


def test_rare_classes_and_a_file_without_a_header_are_noted(tmp_path, folder, runs_in):
    rows = [f"text {n} x,{'rare' if n % 30 == 0 else 'usual'}" for n in range(1, 121)]
    (tmp_path / "texts.csv").write_text("\n".join(rows))
    said = "\n".join(check(folder, data=str(tmp_path / "texts.csv"), max_train=90))
    assert "few texts, which may be missing from a set: rare" in said and "named like a class" in said
