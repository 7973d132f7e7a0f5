"""`predict`: a reader's texts, classified or continued by a trained run; the answers as text, CSV or JSON lines."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from tqdm import tqdm

from course_utils.errors import CourseError, check_output, explained
from course_utils.inputs.columns import (
    ANY_NUMBER,
    LABEL_COLUMNS,
    PAIR_COLUMNS,
    TEXT_COLUMNS,
    by_values,
    column_named,
    listed,
    stripped,
)
from course_utils.inputs.tables import READERS, read_table
from course_utils.runs import Run, is_unchanged, load_model
from course_utils.text import and_joined, counted, one_line
from course_utils.training.card import command
from course_utils.training.evaluation import predict_as_trained
from course_utils.training.trainer import somebody_watches

NO_UTF_8 = re.compile("[\ud800-\udfff]")  # how Python holds bytes that are no text
Named = tuple[str | None, str | None]  # the column of the texts, and that of what each is paired with


def check_usable(run: Run) -> None:
    """Raise CourseError unless the weights of `run` are there, and all its files are as the run recorded them."""
    weights = "weights.safetensors" if run.method.is_baseline else "adapter/adapter_model.safetensors"
    if not (run.folder / weights).is_file():
        raise CourseError(
            f"{run.name} has no weights, like every run restored from published records; to train it, type"
            f" {command(run.config)} --force."
        )
    if not is_unchanged(run):
        raise CourseError(
            f"{run.name} is damaged: a file is not what the run recorded; delete the folder and run again."
        )


def classify(run: Run, texts: pd.DataFrame) -> pd.DataFrame:
    """`texts` (columns text, perhaps text_pair) with the class that `run` predicts for each, in the same order.

    New columns label, the name of a class; probability, that of this class; probability_NAME, that of each class. The
    batches are those of the run's evaluation. Shows a progress bar where a person watches. Raises CourseError where
    the run's base model is no longer the one that it was trained on.
    """
    model, tokenizer, names = load_model(run), run.config.base.tokenizer(), run.task.class_names
    with tqdm(total=len(texts), unit=" texts", leave=False, disable=not somebody_watches()) as bar:

        def count(module, inputs, output) -> None:
            bar.update(len(output.logits))

        model.register_forward_hook(count)
        logits = predict_as_trained(run.config, model, tokenizer, texts.assign(label=0))
    probabilities = np.exp(log_softmax(logits, axis=1))
    answers = texts.assign(label=np.array(names)[logits.argmax(axis=1)], probability=probabilities.max(axis=1))
    return answers.assign(
        **{f"probability_{name}": column for name, column in zip(names, probabilities.T, strict=True)}
    )


def continue_texts(run: Run, texts: pd.DataFrame, tokens: int) -> pd.DataFrame:
    """`texts` (column text), and in the column continuation what `run` writes after each: the likeliest next tokens.

    At each of at most `tokens` tokens the likeliest is taken, in 32 bits, until one ends the text. Raises CourseError
    where the run's base model is no longer the one that it was trained on.
    """
    import torch

    torch.set_num_threads(run.config.threads)
    model, tokenizer, written = load_model(run), run.config.base.tokenizer(), []
    tokenizer.truncation_side, longest = "left", run.config.max_length  # what is continued is the end of a text
    if cut := sum(len(tokenizer(text)["input_ids"]) > longest for text in texts.text):
        print(f"note: of {counted(cut, 'text')}, only the last {longest} tokens are read", file=sys.stderr)
    for text in tqdm(texts.text, unit=" texts", leave=False, disable=not somebody_watches()):
        asked = tokenizer(text, return_tensors="pt", truncation=True, max_length=longest)
        with torch.inference_mode():
            answer = model.generate(**asked, max_new_tokens=tokens, do_sample=False)
        written.append(tokenizer.decode(answer[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts.assign(continuation=written)


# ---------------------------------------------------------------- what is asked


def read_texts(run: Run, typed: list[str], file: Path | None, columns: Named, pair: str | None) -> pd.DataFrame:
    """The texts for `run`: what was `typed`, the rows of a table, the lines of another `file`, or of what is piped.

    Columns text and, for a run on pairs, text_pair: `pair` for every text, or a column of the table. `columns` names
    columns of the table; one that is None is guessed. Raises CourseError where these do not fit each other or the run.
    """
    table = file if file is not None and file.suffix.lower() in READERS else None
    _check_fit(run, typed, file, columns, pair, table is not None)
    if table:
        texts = _of_table(run, table, columns if run.result.data.pairs and pair is None else columns[:1])
    else:
        texts = pd.DataFrame({"text": typed or _lines(file)}, dtype=object)
    if pair is not None:
        texts["text_pair"] = pd.Series(pair, texts.index, dtype=object)
    for place, *row in texts.itertuples():
        if found := next(filter(NO_UTF_8.search, row), None):
            where = f"{table}, {place}: " if table else ""
            raise CourseError(f"{where}{found[:100]!r} is not UTF-8; write the text in UTF-8.")
    return texts.reset_index(drop=True)


def _check_fit(run: Run, typed: list[str], file: Path | None, columns: Named, pair: str | None, is_table: bool) -> None:
    if typed and file:
        raise CourseError("--file and texts exclude each other; type one of them.")
    for text in typed:
        if not text.strip():
            raise CourseError("a text is empty; type a text, or leave it out.")
        if os.path.isfile(text):
            raise CourseError(f"{text} is a file; type --file {text} to classify what is in it.")
    if pair is not None and not pair.strip():
        raise CourseError("--pair: the text is empty; type a text.")
    if any(columns) and not is_table:
        raise CourseError(
            f"--column and --pair-column name columns of a table; type --file NAME, a table ({', '.join(READERS)})."
        )
    if pair is not None and columns[1]:
        raise CourseError("--pair and --pair-column exclude each other; type one of them.")
    paired = pair is not None or columns[1] is not None
    if paired and not run.result.data.pairs:
        raise CourseError(f"{run.name} was trained on single texts; leave --pair and --pair-column out.")
    if run.result.data.pairs and not (paired or is_table):
        raise CourseError(
            f"{run.name} was trained on pairs of texts; type --pair TEXT, or --file NAME with a table of two columns."
        )


def _lines(file: Path | None) -> list[str]:
    typed_file = None if file is None or str(file) == "-" else file
    readable = f"type the name of a text file, or save a table as one of {', '.join(READERS)}"
    place, remedy = (file, readable) if typed_file else ("standard input", "pipe a text in UTF-8")
    with explained(f"{place} cannot be read as lines of UTF-8", remedy, (OSError, ValueError)):
        piped = sys.stdin.read() if sys.stdin and not typed_file else ""  # no stdin where it was closed
        lines = (typed_file.read_text("utf-8-sig") if typed_file else piped).split("\n")
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise CourseError("there is no text; type a text, type --file FILE, or pipe one text a line.")
    if between := len(lines) - len(texts) - (lines[-1] == ""):  # what ends the last line is none
        print(f"note: left out of {place}: {counted(between, 'empty line')}", file=sys.stderr)
    return texts


def _of_table(run: Run, file: Path, wanted: tuple[str | None, ...]) -> pd.DataFrame:
    """Columns text and, where `wanted` are two, text_pair, stripped; its index is each row's place in the file."""
    table = read_table(file)
    names = _columns(run, file, table, wanted)
    texts = pd.DataFrame(
        {role: stripped(table[name], file) for role, name in zip(("text", "text_pair"), names, strict=False)},
        index=table.index,
        dtype=object,
    )
    if texts.empty:
        raise CourseError(f"{file} holds no texts; type the name of a table with one text a row.")
    if len(empty := texts.index[(texts == "").any(axis=1)]):
        more = f", and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise CourseError(f"{file}, {empty[0]}{more}: there is no text; write a text, or take the row out.")
    named_by_run = [name for name in (run.config.text_column, run.config.text_pair_column) if name]
    if not any(wanted) and names != named_by_run and len(table.columns) > len(names):
        print(f"note: {file}: the texts are read from {and_joined([repr(name) for name in names])}", file=sys.stderr)
    return texts


def _columns(run: Run, file: Path, table: pd.DataFrame, wanted: tuple[str | None, ...]) -> list[str]:
    """Names of the columns: as `wanted`, or else as in the run's own data, the usual ones, or those that are left.

    Of two columns of other names, the texts are those that training would take by their values.
    """
    names = list(table.columns)
    for option, name in zip(("--column", "--pair-column"), wanted, strict=False):
        if name is not None and column_named(name, names) is None:
            raise CourseError(f"{option} {name}: {file} has no such column; type one of {listed(names)}.")
    config = run.config
    labels = {*LABEL_COLUMNS, (config.label_column or "").strip().lower()}
    usual = PAIR_COLUMNS if len(wanted) > 1 else [(name,) for name in TEXT_COLUMNS]
    rest = [name for name in names if name.strip().lower() not in labels]
    of_run = (config.text_column, config.text_pair_column)[: len(wanted)]
    by_value = by_values(table)[:1] if len(wanted) == 1 else ()
    for guess in (of_run, *usual, *([rest] if len(rest) == len(wanted) else []), by_value):
        meant = [name or other for name, other in zip(wanted, guess, strict=True)]
        chosen = [found for name in meant if name and (found := column_named(name, names)) is not None]
        if len({*chosen}) == len(wanted):
            return chosen
    options = "--column NAME" + " and --pair-column NAME" * (len(wanted) - 1)
    raise CourseError(
        f"{file}: which column holds the texts is not clear; type {options} with {listed(names)} to choose from."
    )


# ---------------------------------------------------------------- what is answered


def _as_text(answers: pd.DataFrame) -> str:
    """One line per text: the class, its probability, and the text; or the text and what continues it."""
    if "continuation" in answers:
        return "".join(
            f"{one_line(text + rest)}\n" for text, rest in zip(answers.text, answers.continuation, strict=True)
        )
    rows = zip(answers.label, answers.probability, answers.text, strict=True)
    return "".join(f"{label} ({probability:.3f})  {one_line(text)}\n" for label, probability, text in rows)


def _as_csv(answers: pd.DataFrame) -> str:
    """One row per text: each text on one line, and no cell that a spreadsheet would take for a formula."""

    def shown(text: str) -> str:
        line = one_line(text)
        return f"'{line}" if re.match(r"[=+@-]", line) and not ANY_NUMBER.fullmatch(line) else line

    words = answers.columns.intersection(["text", "text_pair", "label", "continuation"])
    return answers.assign(**{name: answers[name].map(shown) for name in words}).to_csv(index=False, lineterminator="\n")


def _as_jsonl(answers: pd.DataFrame) -> str:
    """One object per text, with the text unchanged."""
    return "".join(f"{json.dumps(row)}\n" for row in answers.to_dict("records"))


FORMS: dict[str, Callable[[pd.DataFrame], str]] = {"text": _as_text, "csv": _as_csv, "jsonl": _as_jsonl}


def form_of(wanted: str | None, output: Path | None, file: Path | None) -> str:
    """The form that is `wanted`, or else the one that the name of `output` asks for.

    CourseError where `output` cannot be written, or is the `file` that is read.
    """
    if output is None:
        return wanted or "text"
    check_output(output)
    if file is not None and output.resolve() == file.resolve():
        raise CourseError(f"--output {output}: the texts are read from there; type another name.")
    ending = output.suffix[1:].lower()
    form = wanted or ("text" if ending in ("", "txt") else ending)
    if form not in FORMS:
        raise CourseError(f"--output {output}: a form of this ending is not known; type .csv, .jsonl or .txt, or --to.")
    return form
