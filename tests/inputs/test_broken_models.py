"""A base model whose files are broken is refused in a sentence that names the file and says what to do."""

import shutil

import pytest
from safetensors.torch import load_file

from course_utils.errors import CourseError
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


def test_the_numbers_of_the_weights_are_counted_where_they_can_be(tmp_path, tiny):
    folder = shutil.copytree(tiny.location, tmp_path / "base")
    weights = folder / "model.safetensors"
    assert Base(str(folder)).shape.parameters == sum(tensor.numel() for tensor in load_file(weights).values())
    weights.write_bytes(weights.read_bytes()[:1000])
    assert Base(str(folder)).shape.parameters > 10_000_000  # a usual model's, until the loading says what is wrong
