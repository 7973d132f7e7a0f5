"""Any script is printed, in the PDF and in the figures, or one sentence says what is not."""

import json
import random
import re
import warnings
import zlib

import matplotlib.pyplot as plt
import pytest
import typst
from test_bind import bind_in, reports, write  # noqa: F401  # reports is a fixture

from course_utils.report import bind, fonts, plots
from course_utils.report.chapters import parse_markdown
from course_utils.report.display import show_figure
from course_utils.text import escape_markdown

SCRIPTS = {
    "Hindi": "यह फ़िल्म बहुत अच्छी है, क्षेत्र स्त्री कृपया क्‍ष",
    "Chinese": "这部电影很好看，電影。",
    "Japanese": "この映画は面白い。",
    "Korean": "이 영화는 재미있다",
    "emoji": "😀 🦄 👍🏽 👨‍👩‍👧 ❤️ 🇮🇳",
    "Arabic and Hebrew": "فيلم جيد סרט טוב",
    "Thai, Tamil and Bengali": "หนังดี நல்ல படம் ভালো সিনেমা",
    "Greek, Cyrillic and Vietnamese": "καλή ταινία хороший фильм phim rất hay",
}
OF_SCRIPT = {
    SCRIPTS["Hindi"]: b"NotoSansDevanagari",
    SCRIPTS["Chinese"]: b"NotoSansCJKsc",
    SCRIPTS["Japanese"]: b"NotoSansCJKjp",
    SCRIPTS["emoji"]: b"NotoEmoji",
}
HIEROGLYPH = "\U00013000"
SETTINGS = dict.fromkeys(("title", "subtitle", "author", "course"), "T") | {"date": "2026-01-31"}


def pdf_of(markdown, scratch):
    """The bytes of a small document that is set as the report is, its streams unpacked."""
    front = {"finding": {"t": "MetaString", "c": "F"}, "abstract": {"t": "MetaString", "c": "A"}}
    document = {"pandoc-api-version": [1, 23, 1], "meta": front, "blocks": parse_markdown(markdown)}
    content = bind.set_pdf(json.dumps(document), SETTINGS, scratch, "report", "book.typ").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    unpacked = [zlib.decompressobj().decompress(stream) for stream in streams if stream[:1] == b"x"]
    return b"\n".join([content, *unpacked])


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_any_script_is_printed_in_prose_in_bold_and_in_code(tmp_path, text):
    assert not fonts.said_of(text) and set(fonts.printable(text)) == set(text)
    pdf = pdf_of(f"# T\n\n{text} *{text}* **{text}** `{text}`\n\n```\n{text}\n```", tmp_path)
    # PDF/UA forbids a character without a form; the font of last resort would have passed with a box for each.
    assert b"Libertinus" in pdf and b"LastResort" not in pdf
    assert OF_SCRIPT.get(text, b"Libertinus") in pdf


def test_signs_of_hindi_join():
    def widths(*texts):
        measured = ", ".join(f'measure(text(font: others, "{text}")).width.pt()' for text in texts)
        source = f"#let others = {tuple(fonts.families(''))}\n".replace("'", '"')
        source += f"#context [#metadata(({measured})) <w>]"
        return json.loads(typst.query(source.encode(), "<w>", field="value", one=True, font_paths=fonts.folders()))

    apart, joined, letter, with_sign = widths("क ष", "क्ष", "क", "कु")
    assert joined < 0.8 * apart  # a conjunct is one form
    assert letter == pytest.approx(with_sign)  # and this vowel sign stands below its letter


def test_every_character_of_the_fonts_can_be_set(tmp_path):
    known = sorted(set().union(*fonts._characters().values()))
    letters = [chr(code) for code in known if code > 0x7F and not 0xD800 <= code < 0xE000]
    some = random.Random(0).sample([each for each in letters if each.isprintable()], 4000)
    words = [escape_markdown("".join(some[start : start + 5])) for start in range(0, len(some), 5)]
    assert b"LastResort" not in pdf_of("# T\n\n" + " ".join(words), tmp_path)


def test_what_cannot_be_printed_is_said_once_in_the_report_and_at_the_terminal(reports, monkeypatch, capsys):  # noqa: F811
    write(reports, "05_hira", f"# T\n\nA {HIEROGLYPH} and {HIEROGLYPH}, 你好 and a \u200djoiner.")
    html, pdf = bind_in(monkeypatch, reports)
    sentence = fonts.said_of(HIEROGLYPH)
    assert "1 character of the data" in sentence and "U+13000 EGYPTIAN HIEROGLYPH A001" in sentence
    assert capsys.readouterr().out == sentence + "\n"
    text = " ".join(re.sub("<[^>]+>", " ", html.read_text("utf-8")).split())
    assert text.count(sentence) == 1 and HIEROGLYPH in text
    write(reports, "05_hira", "# T\n\n你好")
    html, _ = bind_in(monkeypatch, reports)
    assert capsys.readouterr().out == "" and fonts.NOT_PRINTED not in html.read_text("utf-8")


def test_a_long_list_is_cut():
    text = "".join(map(chr, range(0x13000, 0x13064)))
    assert fonts.said_of(text).count("HIEROGLYPH") == fonts.NAMED


def test_figures_print_any_script_and_say_what_they_cannot(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    figure, axis = plots._figure(title=" ".join(SCRIPTS.values()))
    axis.set_xticks([0, 1], ["अच्छा", "差 😀"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a missing form
        show_figure(figure, "Caption.", "Alt.")
    assert not [data for data in shown if fonts.NOT_PRINTED in data.get("text/markdown", "")]
    with warnings.catch_warnings(record=True):
        show_figure(plt.figure().text(0, 0, HIEROGLYPH).figure, "Caption.", "Alt.")
    assert "U\\+13000" in shown[-1]["text/markdown"]
