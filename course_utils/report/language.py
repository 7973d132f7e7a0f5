"""The report of an experiment on language models: one chapter, made from its runs; the notebooks classify texts."""

from pathlib import Path
from typing import Any

import pandas as pd

from course_utils.comparison import language
from course_utils.comparison.baselines import title_of
from course_utils.comparison.conclusions import OF_CONTRASTS
from course_utils.comparison.costs import is_uneven, mean_loads
from course_utils.comparison.language import base_interval, bits_of_runs, interval_of
from course_utils.comparison.learning_rates import by_one_seed, search_sentences, search_trials
from course_utils.comparison.results import ExperimentRuns, evaluation_sets
from course_utils.comparison.robustness import seeds_apart
from course_utils.config import command_of
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.report import plots
from course_utils.report.chapters import citation, cited
from course_utils.report.display import TEMPLATES, drawn
from course_utils.stats import MINIMUM_SEEDS
from course_utils.text import counted, in_sentence, template

FIGURE = "bits.svg"
TABLE = "::::: table\n{table}\n\n{caption}\n:::::"  # as the binder reads it


def _explained(name: str) -> str:
    """A method's title, an adapter method's with the paper on it."""
    method = METHODS[name]
    return in_sentence(method.title) if method.is_baseline else f"{method.title} {citation(method.citation)}"


say: Any = template(
    TEMPLATES / "language.md.jinja", OF_CONTRASTS | {"cited": cited, "explained": _explained}
).make_module({"minimum_seeds": MINIMUM_SEEDS})


def read_found(results: ExperimentRuns) -> dict[str, Any]:
    """What the words on the main runs of `results` are made of, by name; CourseError where there is no run yet."""
    shares = bits_of_runs(results)
    if not shares:
        experiment = results.experiment
        raise CourseError(f"{experiment.name} has no finished run; type {command_of(experiment)}.")
    before = bits_of_runs(results, column="scores_before")
    margin, pairs = language.judge_bits(shares)
    first = results.first_of_each()[0]
    return {
        "experiment": results.experiment.name,
        "of_base": first.config.base.facts,
        "of_texts": first.config.source.facts,
        "sizes": first.result.data.sizes,  # set → its number of texts
        "test": first.result.data.titles["test"],
        "before": base_interval(results),  # bits per byte of the base model on the test set
        "changes": {name: interval_of(own - before[name]) for name, own in shares.items()},  # in bits per byte
        "four_bit": [run.method.name for run in results.first_of_each() if run.in_four_bits],
        "margin": margin,
        "pairs": pairs,
        "best": language.best_of(shares, pairs),
        "apart": seeds_apart(shares),
        "few": [name for name, own in shares.items() if len(own) < MINIMUM_SEEDS],
        "missing": sum(run.config.study == "main" for run in results.missing),
        "trials": results.experiment.profile.search.seeds if results.experiment.profile.search else 0,
    }


def language_chapter(results: ExperimentRuns, folder: Path) -> str:
    """The comparison of an experiment's language models as a chapter, Markdown; its figure is written to `folder`."""
    opening, *others = _sections(results, TABLE)
    return "\n\n".join([opening, _figure(results, folder), _search(results), *others])


def language_front(results: ExperimentRuns) -> dict[str, str]:
    """The finding on the title page, and the abstract."""
    found = read_found(results)
    return {"finding": say.finding_text(found), "abstract": say.abstract_text(found)}


def language_comparison(results: ExperimentRuns) -> str:
    """The comparison of an experiment's main runs as Markdown; CourseError where there is none yet."""
    return "\n\n".join(_sections(results, "{caption}\n\n{table}")) + "\n"


def _sections(results: ExperimentRuns, form: str) -> list[str]:
    """What each method reached, the differences and what was forgotten; `form` has places for a table and a caption."""

    def table(frame: pd.DataFrame, caption: str) -> str:
        return form.format(table=_as_markdown(frame), caption=caption.strip())

    found, loads = read_found(results), mean_loads(results)
    differences = ["## Differences", say.best_text(found["best"])]
    if found["pairs"]:
        caption = "Differences in bits per byte; below zero, the first method is better."
        differences += [say.differences_text(found), table(language.pairs_table(found["pairs"]), caption)]
    differences.append(say.unfinished_text(found))
    sections = [
        [
            say.opening_text(found),
            table(language.language_summary(results), say.summary_table(found["four_bit"], loads, is_uneven(loads))),
        ],
        differences,
    ]
    if len(evaluation_sets(results)) > 1:
        changes = table(language.change_by_domain(results), say.forgetting_table(found["four_bit"]))
        sections.append(
            ["## Forgetting", say.forgetting_text(language.changes_elsewhere(results), found["four_bit"]), changes]
        )
    return ["\n\n".join(text for part in section if (text := part.strip())) for section in sections]


def _figure(results: ExperimentRuns, folder: Path) -> str:
    base = base_interval(results)
    found = {name: interval_of(shares) for name, shares in bits_of_runs(results).items()}
    table = pd.DataFrame({"method": name, **vars(interval)} for name, interval in found.items())
    figure = plots.intervals(table, "Bits per byte by method", "bits per byte; fewer are better", base.estimate)
    (folder / FIGURE).write_bytes(drawn(figure, "svg"))
    plots.plt.close(figure)
    listed = "; ".join(f"{METHODS[name].title} {own.estimate:.3f}" for name, own in found.items())
    caption = "Bits per byte on the test set, with 95% intervals. The dashed line is the base model before training."
    alt = f"Bits per byte: {listed}. The base model: {base.estimate:.3f}."
    return f"::::: figure\n![{alt}]({FIGURE})\n\n{caption}\n:::::"


def _search(results: ExperimentRuns) -> str:
    """What the search for learning rates found, as a section; a sentence where the experiment has none."""
    heading, trials = "## Learning rates", search_trials(results)
    if trials.empty:
        return f"{heading}\n\nThis experiment has no finished trial of a search; its rates are those of its profile."
    trials["shown"] = [
        f"{trial.learning_rate:g}: {trial.bits_per_byte:.4f}{' (best)' if trial.best else ''}"
        for trial in trials.itertuples()
    ]
    by_method = trials.groupby("method")["shown"].agg("; ".join).reindex(METHODS).dropna()
    table = by_method.rename(index=title_of).rename_axis("Method").reset_index(name="Rate: bits per byte")
    seeds = counted(len(trials["of_seeds"].iloc[0]), "seed")
    caption = f"What {seeds} at each learning rate reached on the validation texts, which alone choose the rate."
    shown = TABLE.format(table=_as_markdown(table), caption=caption)
    said = [*search_sentences(trials, results.experiment), by_one_seed(trials, results)]
    return "\n\n".join([heading, shown, " ".join(filter(None, said))])


def _as_markdown(table: pd.DataFrame) -> str:
    """A frame of text as a table of Markdown."""
    lines = [list(table.columns), ["--"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
