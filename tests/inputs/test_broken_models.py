"""A base model whose files are broken is refused in a sentence that names the file and says what to do."""

import json
import shutil
from unittest.mock import Mock

import pytest
from safetensors.torch import load_file

from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.inputs import bases
from course_utils.inputs.bases import Base

BROKEN = [
    ("config.json", "{"),
    ("config.json", "3"),
    ("config.json", '{"hidden_size": "big"}'),
    ("modules.json", '[{"path": 3}]'),
    ("model.safetensors.index.json", '{"weight_map": {"a": 3}}'),
    ("model.safetensors.index.json", '{"weight_map": ["a"]}'),
]


@pytest.mark.parametrize(("file", "content"), BROKEN, ids=[f"{file} {content}" for file, content in BROKEN])
def test_it_is_refused(tmp_path, tiny, file, content):
    folder = shutil.copytree(tiny.location, tmp_path / "base")
    (folder / file).write_text(content)
    with pytest.raises(CourseError, match=f"{file} cannot be read .* save the model again") as error:
        _ = Base(str(folder)).shape
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["vit", "t5", "clip"])
def test_a_model_that_is_no_encoder_or_decoder_of_texts_is_refused(tmp_path, tiny, kind):
    folder = shutil.copytree(tiny.location, tmp_path / "base")
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(CourseError, match=f"of the type {kind} is neither an encoder nor a decoder of texts"):
        load_experiment("smoke", {"base_model": str(folder)}).shared.load_data()


def test_a_folder_that_is_not_there_is_told_beside_the_hub(monkeypatch):
    monkeypatch.setattr(bases, "commit_on_hub", Mock(side_effect=OSError("no network")))
    with pytest.raises(CourseError, match=r"on the hub \(no network\).* A folder bases/mine is not there either"):
        load_experiment("smoke", {"base_model": "bases/mine"}).shared.load_data()


def test_the_numbers_of_the_weights_are_counted_where_they_can_be(tmp_path, tiny):
    folder = shutil.copytree(tiny.location, tmp_path / "base")
    weights = folder / "model.safetensors"
    assert Base(str(folder)).shape.parameters == sum(tensor.numel() for tensor in load_file(weights).values())
    weights.write_bytes(weights.read_bytes()[:1000])
    assert Base(str(folder)).shape.parameters > 10_000_000  # a usual model's, until the loading says what is wrong
