"""Columns and labels as they come: names that differ in case, long numbers, lists, and pairs beside single texts."""

import json

import pandas
import pytest

from course_utils.errors import CourseError
from course_utils.inputs.columns import Columns
from course_utils.inputs.sources import find_source
from course_utils.inputs.splits import load_data


@pytest.mark.parametrize("name", ["text", "Text"])
def test_of_columns_that_differ_in_case_the_exact_name_is_read(tmp_path, name):
    rows = {"text": ["a", "b"], "Text": ["A", "B"], "label": [0, 1]}
    pandas.DataFrame(rows).to_csv(tmp_path / "train.csv", index=False)
    source = find_source(str(tmp_path / "train.csv"), Columns(text=name))
    assert [*source.read().frames["train"].text] == rows[name]


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_that_is_too_long_for_a_class_is_told_with_its_line(tmp_path, digits):
    (tmp_path / "train.csv").write_text(f"text,label\na,1\nb,{'9' * digits}\n")
    with pytest.raises(
        CourseError, match="line 3: the label is 9{40}; a class is a word or a whole number of at most 100"
    ):
        find_source(str(tmp_path / "train.csv")).read()


@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_lists_are_neither_texts_nor_labels(tmp_path, column, ending):
    rows = [{"text": f"Text {n}", "label": n % 2} | {column: [str(n), "b"]} for n in range(4)]
    file = tmp_path / f"train.{ending}"
    if ending == "parquet":
        pandas.DataFrame(rows).to_parquet(file)
    else:
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(CourseError, match=f"(row|line) 1: the column '{column}' holds a list or an object"):
        find_source(str(file)).read()


@pytest.mark.parametrize(("data", "other"), [("pairs", "single texts"), ("single texts", "pairs")])
def test_pairs_are_not_evaluated_on_single_texts_nor_the_other_way_round(tmp_path, data, other):
    labels = {"label": [0, 1] * 30}
    texts = {"text": [f"It rains {n}." for n in range(60)]}
    pairs = {"sentence1": texts["text"], "sentence2": [f"It is wet {n}." for n in range(60)]}
    for name, columns in (("single texts", texts), ("pairs", pairs)):
        pandas.DataFrame(columns | labels).to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(CourseError, match=f"it holds {other}, and the training data {data}"):
        load_data(str(tmp_path / f"{data}.csv"), also_evaluate=str(tmp_path / f"{other}.csv"))
