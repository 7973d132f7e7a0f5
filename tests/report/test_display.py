"""What a cell shows keeps its words, whatever is in the data, and carries what the report needs."""

import json
import warnings

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pandas as pd
import pypandoc
import pytest

from course_utils.errors import CourseError
from course_utils.report.chapters import MARKDOWN, elements
from course_utils.report.display import drawn, show_figure, show_source, show_table
from course_utils.text import code_block

HOSTILE = [
    "</td><script>alert(1)</script>",
    "a | b || c",
    r"$\input{/etc/passwd}$ \(x\) \\",
    '#let x = 1; #read("secret") @cite [@cite]',
    "`code` ``` *bold* __under__ ~~x~~ ^up^",
    "# not a heading",
    "- not a list",
    "1. not a list",
    "&lt; &amp; é “quoted” 'single' -- ... 漢字 😀",
    "::: div {.class} <!-- comment -->",
    "line one\nline two",
    "\u202eturned\u202c \x1b[31mred\x1b[0m \x00nothing",
]
AS_SHOWN = [
    *HOSTILE[:-2],
    "line one line two",
    "turned [31mred [0m nothing",
]


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: pairs of data and metadata."""
    outputs = []

    def display(data, raw, metadata):
        assert raw
        outputs.append((data, metadata))

    monkeypatch.setattr("IPython.display.display", display)
    return outputs


def drawing():
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3])
    return figure


def cells(table):
    """The texts of a pandoc table's cells, in reading order."""
    words = {"Str": lambda c: c, "Space": lambda _: " ", "SoftBreak": lambda _: " "}
    for cell in elements(table, "Plain"):
        yield "".join(words[inline["t"]](inline.get("c")) for inline in cell["c"])


def test_figure_is_vector_closed_and_described(shown):
    figure = drawing()
    show_figure(figure, "A *line*.", 'It "rises".')
    (data, metadata), (caption, mark) = shown
    assert data["image/svg+xml"].startswith("<?xml") and "image/png" not in data
    assert 'alt="It &quot;rises&quot;."' in data["text/html"]
    assert metadata["course"] == {"kind": "figure", "caption": "A *line*.", "alt": 'It "rises".', "shown_by": ""}
    assert caption["text/markdown"] == "**Figure.** A *line*." and mark["course"]["kind"] == "caption"
    assert not plt.fignum_exists(figure.number)


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_file_of_a_figure_has_the_same_bytes_and_a_missing_character_is_no_warning(kind):
    def again():
        figure = drawing()
        figure.axes[0].set_title("\ue000")  # for private use: no font has it
        return drawn(figure, kind)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again() == again()


@pytest.mark.parametrize(("caption", "alt"), [("", "It rises."), ("A line.", " ")])
def test_figure_without_words_is_refused(shown, caption, alt):
    with pytest.raises(CourseError, match="caption and an alt text"):
        show_figure(drawing(), caption, alt)


def test_hostile_cells_stay_text(shown):
    frame = pd.DataFrame({"text | <b>": HOSTILE, "n": range(len(HOSTILE))})
    show_table(frame, "Sentences.")
    data, metadata = shown[1]
    assert metadata["course"] == {"kind": "table", "caption": "Sentences.", "shown_by": ""}
    tree = json.loads(pypandoc.convert_text(data["text/markdown"], "json", format=MARKDOWN))
    (table,) = elements(tree["blocks"], "Table")
    expected = [value for pair in zip(AS_SHOWN, map(str, range(99)), strict=False) for value in pair]
    assert list(cells(table)) == ["text | <b>", "n", *expected]
    assert "<script>" not in data["text/html"]


def test_numbers_are_formatted_and_stand_right(shown):
    frame = pd.DataFrame(
        {"share": [0.5, None], "n": [12345, 6], "name": ["a", "b"]},
        index=pd.Index(["x", "y"], name="method"),
    )
    show_table(frame, "Numbers.", formats={"share": "{:.1%}"})
    head, align, first, second = shown[1][0]["text/markdown"].splitlines()
    assert head == "| method | share | n | name |"
    assert align == "| :-- | --: | --: | :-- |"
    assert first.replace("\\", "") == "| x | 50.0% | 12,345 | a |"
    assert second == "| y | – | 6 | b |"


def test_format_of_no_column_names_the_columns(shown):
    with pytest.raises(CourseError, match="acuracy; the columns are: accuracy"):
        show_table(pd.DataFrame({"accuracy": [1.0]}), "Table.", formats={"acuracy": "{:.1%}"})


def test_source_is_the_package_s_own_and_its_fence_holds(shown):
    show_source(code_block)
    text = shown[0][0]["text/markdown"]
    assert text.startswith("``` python\n# course_utils.text.code_block\ndef code_block(")
    assert code_block("````", "python").startswith("````` python")
