"""Every table and figure of the comparison chapter, each with its caption, alt text and the sentence it supports.

A function takes the runs of an experiment and shows what they allow, in the words of templates/exhibits.md.jinja.
Where an experiment lacks what an exhibit needs, the exhibit says so.
"""

from collections.abc import Iterable
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from course_utils.audit import audit
from course_utils.comparison import agreement, calibration, controls, other_experiments, tables, training_step
from course_utils.comparison.baselines import BASELINES, FITTED, title_of
from course_utils.comparison.conclusions import (
    OF_CONTRASTS,
    experiment_verdicts,
    judge_experiment,
    named,
    over_baselines,
    p_in_words,
)
from course_utils.comparison.costs import (
    MERGED,
    cost_draws,
    front_shares,
    is_uneven,
    mean_loads,
    median_interval,
    memory_of_first_runs,
    processors,
    times_of_first_runs,
)
from course_utils.comparison.domains import Domain, forgetting_table, never_named, one_less_by_set, read_domains
from course_utils.comparison.learning_rates import (
    by_one_seed,
    by_scaled_likelihood,
    search_sentences,
    search_table,
    search_trials,
)
from course_utils.comparison.lengths import APART, read_lengths
from course_utils.comparison.other_scores import other_scores
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.robustness import OneLess, is_fragile, tuned
from course_utils.comparison.weights import has_updates, method_deltas, subspace_overlaps
from course_utils.methods import CEILING, FLOOR, METHODS, PLAIN
from course_utils.report import plots
from course_utils.report.display import TEMPLATES, show_figure, show_markdown, show_table, with_ends
from course_utils.report.other_choices import FRAGILE
from course_utils.report.rates import main_by_accuracy
from course_utils.report.wording import alt_text, judged_cells
from course_utils.stats import DIFFERENCES, MINIMUM_SEEDS, Interval, PairedComparison, ranks, shared_seeds
from course_utils.tasks.classification import METRICS, kept_of_longer
from course_utils.text import and_joined, escape_markdown, one_line, signed_interval, signed_points, template


def _each(values: pd.DataFrame, text: str) -> str:
    """`text` filled with every row of `values`, the title of its method included, as alt texts list them."""
    rows = values.reset_index().to_dict("records")
    return "; ".join(text.format(**{"title": title_of(row["method"])} | row) for row in rows)


MOST_CLASSES_SHOWN = 12  # in a square table
MISSED_SHOWN = 8  # texts that every run misses
CHANGES_SAID = 3  # parts of a step that change most between two methods
FAR_APART = 1.5  # times as long as the shortest, between the runs of a method
say: Any = template(TEMPLATES / "exhibits.md.jinja", OF_CONTRASTS | {"each": _each}).module


def what_was_run(results: ExperimentRuns) -> None:
    """What this experiment is, and which of its runs cannot be used."""
    beside = sum(run.config.study != "main" for run in results.runs)
    show_markdown(say.what_was_run_text(results.experiment, results.runs[0].result, len(results.runs), beside))
    lost = pd.DataFrame(
        [(run.config.study, run.config.method, run.config.seed, run.reason) for run in results.missing],
        columns=["Study", "Method", "Seed", "Reason"],
    )
    if len(lost):
        lost = lost.assign(Method=lost["Method"].map(title_of), Seed=lost["Seed"].astype(str))
        for several in ("Seed", "Method"):  # the seeds of a method, then the methods that miss the same ones
            others = [name for name in lost if name != several]
            lost = lost.groupby(others, sort=False, as_index=False)[several].agg(", ".join)
        show_table(lost[["Study", "Method", "Seed", "Reason"]], say.what_was_run_table())


def learning_rates(results: ExperimentRuns) -> None:
    """The search for learning rates, and what it found."""
    trials = search_trials(results)
    if trials.empty:
        show_markdown(say.learning_rates_text(results.experiment.profile.found_by))
        return
    best = trials[trials["best"]].eval("per_cent = 100 * accuracy")
    figure = plots.search_curves(trials, say.learning_rates_title(best["learning_rate"]))
    show_figure(figure, say.learning_rates_figure(results.experiment.profile.search), say.learning_rates_alt(best))
    table = search_table(trials).rename(index=title_of).rename_axis("Method")
    shown = pd.DataFrame({"Best rate": table["rate"].map("{:g}".format)})
    for title, name in (("Next lower", "below"), ("Best", "at"), ("Next higher", "above")):
        pairs = zip(table[f"nll_{name}"], table[name], strict=True)
        shown[title] = [f"{nll:.4f} ({accuracy:.1f})" if accuracy == accuracy else "–" for nll, accuracy in pairs]
    expected = table[[name for name in table if isinstance(name, int)]].rename(columns=str)
    show_table(shown.join(expected), say.search_table(), dict.fromkeys(expected, "{:.1f}"))
    told = [
        *search_sentences(trials, results.experiment),
        by_scaled_likelihood(trials, results),
        by_one_seed(trials, results),
    ]
    show_markdown("\n\n".join(told))


def accuracies(results: ExperimentRuns) -> None:
    """Accuracy and F1 with intervals, as a table and as a figure."""
    summary, data = tables.summary_table(results), results.runs[0].result.data
    table = tables.readable_summary(summary)
    table["Learning rate"] = summary["learning_rate"].map("{:g}".format, na_action="ignore")
    measures = [tables.OF_CLASSES[name] for name in tables.metrics_shown(summary)]
    published = [title for title, *_ in tables.PUBLISHED.get(data.titles["test"], [])]
    caption = say.accuracies_table(measures, data, published)
    headings = [measure.heading for measure in measures]
    show_table(table[["Method", "Seeds", "Learning rate", *headings, "Training (s)"]], caption)
    ours = tables.accuracy_in_per_cent(summary)
    show_figure(accuracy_figure(results), say.accuracies_figure(data, CEILING.title), say.accuracies_alt(ours))
    best = ours.loc[ours["estimate"].idxmax()]
    figure = plots.accuracy_by_seconds(ours, say.seconds_title(best))
    show_figure(figure, say.seconds_figure(), say.seconds_alt(ours[ours["train_seconds"] > 0]))
    confusions(results)


def confusions(results: ExperimentRuns) -> None:
    """Which classes the most accurate method takes for which others."""
    summary = tables.summary_table(results)
    best = summary.loc[summary["accuracy"].where(summary["seeds"] > 0).idxmax(), "method"]
    names = [one_line(name)[:24] for name in results.runs[0].task.class_names]
    shares = tables.confusion_matrix(results.predictions, best, len(names))
    wrong = _of_two(shares)
    true, said = wrong.idxmax()
    never, by_none = (
        [name for label, name in enumerate(names) if label not in said_by]
        for said_by in (np.flatnonzero(shares.max()), results.predictions.named)
    )
    facts = {"best": title_of(best), "true": names[true], "said": names[said], "share": wrong.max()}
    facts |= {"never": never, "by_none": by_none}
    if len(names) <= MOST_CLASSES_SHOWN:
        figure = plots.confusion_map(
            shares.set_axis(names, axis=0).set_axis(names, axis=1), say.confusions_title(facts)
        )
        show_figure(figure, say.confusions_figure(facts), say.confusions_alt(facts))
    show_markdown(say.confusions_text(facts))


def accuracy_figure(results: ExperimentRuns) -> Figure:
    """Mean accuracy of every baseline and method with its interval: the figure that the README shows."""
    ours = tables.accuracy_in_per_cent(tables.summary_table(results))
    best, full = ours.loc[ours["estimate"].idxmax()], ours[ours["method"] == CEILING.name]
    return plots.intervals(
        ours,
        f"{best.title} has the highest mean, {best.estimate:.1f}%",
        f"accuracy on {results.runs[0].result.data.titles['test']} (%)",
        full["estimate"].iloc[0] if len(full) else None,
    )


def _titles(pairs: Iterable[PairedComparison]) -> list[str]:
    return [f"{title_of(pair.first)} − {title_of(pair.second)}" for pair in pairs]


def conclusions(results: ExperimentRuns) -> None:
    """The differences between all pairs, the ranks, and the sentences that they allow."""
    judged = judge_experiment(results)
    if judged.pairs:
        names = _titles(judged.pairs)
        cells = [judged_cells(pair) | {"p, equivalence": p_in_words(pair.p_equivalent)} for pair in judged.pairs]
        show_table(pd.DataFrame(cells, pd.Index(names, name="Pair")), say.conclusions_table(judged.margin))
        told = tuned(judged.pairs) or judged.pairs
        seen = [[*pair.power.of_difference.values(), pair.power.of_equivalence] for pair in told]
        sizes = [f"{100 * size:g} point{'s' if size != 0.01 else ''}" for size in DIFFERENCES]
        power = 100 * pd.DataFrame(seen, pd.Index(_titles(told), name="Pair"), [*sizes, "Equivalence"])
        show_table(power, say.power_table(), dict.fromkeys(power, "{:.0f}"))
    if len(judged.adapters) > 1 and len(
        places := ranks({name: results.predictions.correct[name] for name in judged.adapters})
    ):
        shown = (100 * places).rename(index=title_of, columns="Rank {}".format).rename_axis("Method")
        show_table(shown, say.ranks_table(), dict.fromkeys(shown, "{:.0f}"))
        show_markdown(say.ranks_text(places[1].sort_values(ascending=False, kind="stable")))
    _show_sentences(experiment_verdicts(results))
    gains = pd.DataFrame(
        {"method": title_of(pair.first), "baseline": f"Minus {named(pair.second)}"}
        | {"gain": signed_interval(pair.difference) + ("*" if pair.differs else "")}
        for pair in over_baselines(results)
    )
    if len(gains):
        wide = gains.pivot(index="method", columns="baseline", values="gain")
        shown = wide.loc[gains["method"].unique(), gains["baseline"].unique()].rename_axis(index="Method", columns=None)
        show_table(shown, say.over_baselines_table(len(gains)))


def calibrations(results: ExperimentRuns) -> None:
    """Likelihood and calibration before and after temperature scaling, and what other scores than accuracy show."""
    scaled = calibration.scaled_predictions(results.mains)
    wide = calibration.calibration_table(scaled).pivot(index="method", columns="stage").loc[_in_order]
    shown = pd.DataFrame(index=wide.index)
    for name, metric in METRICS.items():
        if name not in tables.OF_CLASSES:  # which no temperature changes
            shown[metric.heading] = wide[name].map(metric.short)[["before", "after"]].agg(" → ".join, axis=1)
    shown["Temperature"] = wide["temperature"]["after"].map("{:.2f}".format)
    show_table(shown.rename(index=title_of).rename_axis("Method"), say.calibrations_table())
    figure = plots.reliability_diagram(calibration.reliability(scaled), "Accuracy against confidence of each method")
    show_figure(figure, say.calibrations_figure(), say.calibrations_alt(wide["ece"]))
    show_markdown(say.calibrations_text(wide["ece"]))
    otherwise = main_by_accuracy(results)
    at_other_rates = otherwise and other_scores(results, calibration.scaled_predictions(otherwise.runs))
    show_markdown(say.other_scores_text(other_scores(results, scaled), at_other_rates, otherwise and otherwise.seeds))


def across(results: ExperimentRuns) -> None:
    """What the experiments whose reports lie beside this one say of the same methods."""
    ours = other_experiments.conclude(results)
    theirs = [other for other in other_experiments.others(results) if {*other.methods} & {*ours.methods}]
    if not theirs:
        show_markdown(say.across_alone())
        return
    experiments = [ours, *theirs]
    columns = {each.experiment: _beside_plain(each) for each in experiments}
    methods = [PLAIN.name, *(name for name in METHODS if name in ours.methods and name != PLAIN.name)]
    table = pd.DataFrame(columns).reindex(methods).fillna("–")
    show_table(table.rename(index=title_of).rename_axis("Method"), say.across_table(experiments, PLAIN.title))
    pairs = other_experiments.shown_across(experiments)
    show_markdown(say.across_shown(*other_experiments.sole_leaders(experiments), pairs, _undivided(pairs)))
    show_markdown(say.across_searches(experiments))
    show_markdown(say.across_hidden(experiments))
    apart = [
        {"Experiment": other.experiment, "Pair": f"{title_of(one.first)} − {title_of(one.second)}"}
        | {"Here": say.across_cell(one, ours.unit).strip(), "There": say.across_cell(same, other.unit).strip()}
        for other in theirs
        for one, same in other_experiments.disagreements(ours, other)[0]
    ]
    if apart:
        show_table(pd.DataFrame(apart), say.across_apart())


def _beside_plain(concluded: other_experiments.Conclusions) -> dict[str, str]:
    """Method → its difference to `PLAIN` with its interval, an asterisk where it is shown; and the score of `PLAIN`."""
    cells = {}
    for pair in concluded.pairs:
        if PLAIN.name in (pair.first, pair.second):
            own = pair if pair.second == PLAIN.name else pair.swapped()
            cells[own.first] = say.in_unit(own, concluded.unit).strip() + ("*" if own.differs else "")
    if plain := concluded.methods.get(PLAIN.name):
        ends = vars(plain.score).values()
        bits = "{:.3f} [{:.3f}, {:.3f}] bits per byte".format(*ends)
        cells[PLAIN.name] = with_ends(*(100 * end for end in ends)) if concluded.unit == "accuracy" else bits
    return cells


def _undivided(pairs: list[other_experiments.Shown]) -> str:
    """Between which methods no experiment shows a difference: "" where there are none."""
    alike = [{pair.first, pair.second} for pair in pairs if not pair.above and not pair.below]
    names = [name for name in METHODS if any(name in pair for pair in alike)]
    if len(names) > 2 and len(alike) == comb(len(names), 2):
        return f"between any two of {and_joined([named(name) for name in names])}"
    listed = ([named(name) for name in METHODS if name in pair] for pair in alike)
    return "; ".join(f"between {and_joined(pair)}" for pair in listed)


def other_domains(results: ExperimentRuns) -> None:
    """Accuracy on the sets of other domains, and how far it falls."""
    by_set = tables.accuracy_by_set(results)
    cells = by_set.assign(cell=[with_ends(row.estimate, row.low, row.high) for row in by_set.itertuples()])
    written = cells.pivot(index="method", columns="set", values="cell")
    written = written.loc[[name for name in (*BASELINES, *METHODS) if name in written.index], by_set["set"].unique()]
    show_table(written.rename(index=title_of).rename_axis(index="Method", columns=None), say.other_domains_table())
    wide = by_set.pivot(index="method", columns="set", values="estimate").loc[_in_order, by_set["set"].unique()]
    drop = (wide.iloc[:, :1].to_numpy() - wide.iloc[:, 1:]).mean()
    if drop.empty:
        return
    figure = plots.accuracy_by_set(by_set, say.other_domains_title(drop))
    show_figure(figure, say.other_domains_figure(), say.other_domains_alt(drop))
    show_markdown(say.other_domains_text(drop))
    if (never := never_named(results)).classes:
        show_markdown(say.never_named_text(never))
    if domains := read_domains(results):
        less = one_less_by_set(results)
        rows = [_of_domain(domain, less[domain.title]) for domain in domains]
        show_table(pd.DataFrame(rows), say.domains_table(FRAGILE in " ".join(row["Shown to differ"] for row in rows)))
        show_markdown(say.domains_text(domains, CEILING))


def _of_domain(domain: Domain, less: list[OneLess]) -> dict[str, str]:
    """What is shown on one set, as a row of a table; `less` is what is shown there where one method is left out."""
    shown = (
        f"{title_of(pair.first)} − {title_of(pair.second)}, {signed_interval(pair.difference)}"
        + FRAGILE * is_fragile(pair, less)
        for pair in domain.differing
    )
    return {
        "Set": domain.title,
        "Highest mean": say.best_there(domain).strip(),
        "Shown to beat every baseline": ", ".join(map(title_of, domain.beating))
        or say.not_beaten_there(domain).strip(),
        "Shown to differ": "; ".join(shown) or "none",
    }


def forgetting(results: ExperimentRuns) -> None:
    """How much of the base model's own ability to tell domains apart is lost after training."""
    found = forgetting_table(results)
    if found.empty:
        show_markdown(say.no_forgetting_text())
        return
    shown = pd.DataFrame(
        {
            "Method": found["method"].map(title_of),
            "Before (%)": found["before"].map("{:.1f}".format),
            "After (%)": found["after"].map("{:.1f}".format),
            "Change [95%]": [
                signed_interval(change) if change.low == change.low else signed_points(change.estimate)
                for change in (Interval(*ends) for ends in found[["change", "low", "high"]].to_numpy() / 100)
            ],
            "p (Holm)": ["–" if p != p else p_in_words(p) for p in found["p_holm"]],
        }
    )
    show_table(shown, say.forgetting_table(int(found["texts"].iloc[0]), [*found["method"][found["four_bit"]]]))
    if len(moved := found[found["method"] != FLOOR.name]):
        show_markdown(say.forgetting_text(moved.set_index("method")))


def agreements(results: ExperimentRuns) -> None:
    """How far the methods make the same predictions, and the sentences that all of them miss."""
    predictions = results.predictions
    kappa = agreement.cohens_kappa(predictions.predicted)
    others = _of_two(kappa)
    if len(others):  # none, where one method is finished
        first, second = map(title_of, others.idxmax())
        alone = (others.round(2) == others.max().round(2)).sum() == 2  # each pair stands on both sides of the diagonal
        title = f"{first} and {second} agree most" if alone else "Several pairs of methods agree most"
        figure = plots.overlap_map(kappa, title, "Cohen's kappa")
        show_figure(figure, say.kappa_figure(), say.kappa_alt(others))
        show_markdown(say.kappa_text(others, pd.Series(np.diag(kappa)).dropna()))
    missed = agreement.missed_by_all(predictions, agreement.test_sentences(results))
    classes = results.experiment.shared.load_task().labels
    never = {label: classes[label] for label in sorted({*predictions.labels} - predictions.named)}
    show_markdown(say.missed_text(len(missed), len(predictions.labels), never, missed["label"].isin(never).sum()))
    if len(missed):
        words = {"text": "Text", "text_pair": "Second text"}
        shown = missed[[name for name in words if name in missed]].rename(columns=words)
        shown["Label"] = missed["label"].map(classes)
        if "mean_rating" in missed:
            sides = missed[["negative", "neutral", "positive"]]
            shown["Raters − / 0 / +"] = sides.astype(str).agg(" / ".join, axis=1)
            shown["Mean"] = missed["mean_rating"].map("{:+.1f}".format).str.replace("-", "−")
        some = shown.head(MISSED_SHOWN)
        show_table(some, say.missed_table("mean_rating" in missed, len(some), len(missed)))


def lengths(results: ExperimentRuns) -> None:
    """Accuracy of every method by the length of the texts, and what is cut of them."""
    config, found = results.experiment.shared, read_lengths(results)
    if found is None:
        show_markdown(say.one_length_text(APART))
        return
    table = found.accuracy.assign(series=found.accuracy["method"].map(title_of))
    table["value"] = [f"{own.low:,} to {own.high:,}" for own in found.quarters.loc[table["quarter"]].itertuples()]
    figure = plots.accuracy_by_factor(table, say.lengths_title(found), "tokens of a text before it is cut")
    kept = kept_of_longer(config.truncation, results.runs[0].result.data.pairs)
    alt = alt_text(table.assign(value=table["value"] + " tokens"))
    show_figure(figure, say.lengths_figure(found.quarters, config.max_length, kept), alt)
    show_markdown(say.lengths_text(found))


def human_ceiling(results: ExperimentRuns) -> None:
    """One rater against the others, overall and by how strongly a sentence was rated, beside the methods."""
    sentences = agreement.test_sentences(results)
    if "ratings" not in sentences:
        show_markdown(say.no_ratings_text())
        return
    judged_as = agreement.judged_as(results)
    table = agreement.accuracy_by_rating(results.predictions, sentences, judged_as)
    person = table[table["method"] == agreement.HUMAN].set_index("rating")["accuracy"]
    figure = plots.accuracy_by_rating(table, say.human_ceiling_title(person))
    show_figure(figure, say.human_ceiling_figure(), say.human_ceiling_alt(person))
    halves = any(0.5 in agreement.rater_agreement(ratings, judged_as) for ratings in sentences["ratings"])
    show_markdown(say.human_ceiling_text(person, agreement.human_ceiling(sentences, judged_as), halves))


def weight_changes(results: ExperimentRuns) -> None:
    """Size, effective rank and directions of every method's update, on the layers that all of them change."""
    runs = {run.config.method: run for run in results.first_of_each() if run.method is not FLOOR}
    if without := [run.method.title for run in runs.values() if not has_updates(run)]:
        show_markdown(say.no_updates_text(without))
        return
    table = method_deltas(runs)
    if table["method"].nunique() < 2:
        show_markdown(say.one_update_text())
        return
    means = table.groupby("method")[["relative norm", "effective rank"]].mean()
    means = means.loc[_in_order(means)]
    sizes, ranks = means["relative norm"], means["effective rank"]
    farthest, widest = title_of(sizes.idxmax()), title_of(ranks.idxmax())
    of_seed = f" (seed {', '.join(map(str, sorted({run.config.seed for run in runs.values()})))})"
    figure = plots.method_layers(
        table, "relative norm", f"{farthest} changes the weights most on average{of_seed}", "‖ΔW‖ / ‖W₀‖"
    )
    show_figure(figure, say.sizes_figure(table["layer"].nunique()), say.sizes_alt(sizes))
    title = f"{widest} has the highest effective rank on average{of_seed}"
    figure = plots.method_layers(table, "effective rank", title, "effective rank of ΔW")
    show_figure(figure, say.ranks_figure(table["layer"].nunique()), say.ranks_alt(ranks))
    show_markdown(say.updates_text(sizes, ranks))

    again = {f"{PLAIN.title}, seed {run.config.seed}": run for run in results.of(PLAIN.name)[1:2]}
    overlaps, chance = subspace_overlaps(runs | again)
    changed = [name for name in runs if name in overlaps]  # not a method whose gates are all shut
    between = _of_two(overlaps.loc[changed, changed])
    first, second = map(title_of, between.idxmax())
    figure = plots.overlap_map(overlaps, f"{first} and {second} share the most directions")
    show_figure(figure, say.overlaps_figure(chance), say.overlaps_alt(between))
    of_seeds = [overlaps.loc[PLAIN.name, name] for name in again if {PLAIN.name, name} <= {*overlaps}]
    show_markdown(say.overlaps_text(between, chance, PLAIN.title, of_seeds))


def quantised_base(results: ExperimentRuns) -> None:
    """What the base model alone loses when its weights go to four bits."""
    found = controls.quantised_base(results)
    show_markdown(say.quantised_base_text(found) if found else say.no_quantised_base_text())


def costs(results: ExperimentRuns) -> None:
    """What the methods cost, and how often each is on a Pareto front."""
    summary = tables.summary_table(results).query("seeds > 0")
    times, memory = pd.DataFrame(times_of_first_runs(results)), memory_of_first_runs(results)
    table = tables.readable_summary(summary)
    sizes = ["Adapter (k)", "Head (k)", "Total (M)", "Adapter (MB)", "Head (MB)", "Base model (MB)"]
    show_table(table[["Method", *sizes]], say.sizes_table())
    merged, beside = median_interval(times[MERGED]), {name: median_interval(times[name]) for name in times}
    table["To classify (ms)"] = [_in_brackets(beside[name]) if name in beside else "–" for name in summary["method"]]
    batch = results.experiment.shared.batch_size
    table["Texts a second"] = [f"{1000 * batch / step:.0f}" for step in summary["step_ms_median"]]
    table["To classify (MB)"] = [
        f"{memory[name] / 1e6:,.0f}" if memory.get(name) else "–" for name in summary["method"]
    ]
    table = table.assign(**_over_runs(results, summary["method"]))
    needs = ["Step (ms)", "Texts a second", "Epoch (s)", "To classify (ms)", "Peak memory (MB)", "To classify (MB)"]
    show_table(table[["Method", *needs]], say.needs_table(_in_brackets(merged), memory[MERGED]))
    trained = tables.accuracy_in_per_cent(summary)
    trained["unmerged"] = [beside.get(name, merged).estimate for name in trained["method"]]
    seconds = {name: [run.result.timing.train_seconds for run in results.of(name)] for name in summary["method"]}
    apart = {title_of(name): own for name, own in seconds.items() if max(own) > FAR_APART * min(own)}
    loads = mean_loads(results).rename(index=title_of)
    told = [
        say.unmerged_text([name for name, own in beside.items() if own.estimate < merged.estimate]),
        _fronts(results, trained, times),
        *[say.earlier_code_text()] * bool(results.of(summary["method"].iloc[0])[0].changed_code),
        *([say.processors_text(found)] if len(found := processors(results.mains)) > 1 else []),
        say.loads_text(loads, is_uneven(loads), apart),
    ]
    by_method = summary.set_index("method")
    if PLAIN.name in by_method.index:
        plain = by_method.loc[PLAIN.name]
        told += [
            say.four_bits_text(row, plain, memory.get(name), memory.get(PLAIN.name))
            for name, row in by_method.iterrows()
            if METHODS[name].four_bit_base
        ]
    _show_sentences(told)


def _over_runs(results: ExperimentRuns, methods: pd.Series) -> dict[str, list[str]]:
    """Costs of the `methods` as columns of a table: medians over the main runs, with their intervals where several."""
    runs, epochs = tables.finished_runs(results).set_index("method"), results.experiment.shared.epochs
    costs = {
        "Step (ms)": runs["step_ms_median"],
        "Epoch (s)": runs["train_seconds"] / epochs,
        "Peak memory (MB)": runs["peak_memory_bytes"] / 1e6,
    }
    return {
        title: [
            _in_brackets(median_interval(of_runs.loc[[name]].astype(float)), ",.1f" if "(s)" in title else ",.0f")
            for name in methods
        ]
        for title, of_runs in costs.items()
    }


def _fronts(results: ExperimentRuns, trained: pd.DataFrame, times: pd.DataFrame) -> str:
    """Show accuracy against each cost of the `trained` methods, and their shares of the fronts; what that says."""
    draws = cost_draws(results, times)
    if not draws:
        return say.no_fronts_text()
    for name in ("bytes_adapter", "bytes_base_model", "peak_memory_bytes"):
        trained[name], draws[name] = trained[name].astype(float) / 1e6, draws[name] / 1e6
    axes = {
        "parameters_adapter": "parameters outside the head",
        "bytes_adapter": "on disk outside the head (MB)",
        "bytes_base_model": "base model in memory (MB)",
        "peak_memory_bytes": "peak memory (MB)",
        "step_ms_median": "median step (ms)",
        "unmerged": "evaluation, not merged (ms)",
    }
    fitted = [baseline.name for baseline in FITTED]
    rows = tables.accuracy_in_per_cent(tables.summary_table(results)).to_dict("records")
    line = max((row for row in rows if row["method"] in fitted), key=lambda row: row["estimate"], default=None)
    figure = plots.cost_scatter(trained, axes, draws, "Accuracy against six costs", line)
    plain = [title_of(name) for name in trained["method"] if name not in times]
    show_figure(figure, say.costs_figure(plain, line), say.costs_alt(trained, line))
    shares = front_shares(draws)[[*axes]].rename(index=title_of).round(2)  # as the table shows them
    fronts = shares.rename(columns=axes).rename_axis(None).T.rename_axis("Cost")
    show_table(fronts, say.fronts_table(plain), dict.fromkeys(fronts, "{:.0%}"))
    return say.costs_text(len(shared_seeds(results.predictions.correct)) < MINIMUM_SEEDS)


def arithmetic(results: ExperimentRuns) -> None:
    """What a training step computes and keeps, beside full fine-tuning: why an adapter saves less than one expects."""
    table, batch = training_step.step_table(results), results.experiment.shared.batch_size
    shown = pd.DataFrame(
        {
            "Method": table.index.map(title_of),
            "Forward (GFLOPs)": (table["forward"] / 1e9).map("{:,.2f}".format),
            "Backward (GFLOPs)": (table["backward"] / 1e9).map("{:,.2f}".format),
            "Weights (MB)": (table["weights"] / 1e6).map("{:,.1f}".format),
            "Gradients (MB)": (table["gradients"] / 1e6).map("{:,.1f}".format),
            "Moments (MB)": (table["moments"] / 1e6).map("{:,.1f}".format),
            "Activations (MB)": (batch * table["activations"] / 1e6).map("{:,.0f}".format),
            "Step (ms)": table["step"].map("{:,.0f}".format),
        }
    )
    shown = shown.reset_index(drop=True).replace("nan", "not counted")
    show_table(shown, say.arithmetic_table(training_step.TOKENS, batch))
    if {PLAIN.name, CEILING.name} <= {*table.index} and table["forward"].notna().all():
        steps = [[run.result.timing.step_ms_median for run in results.of(of.name)] for of in (PLAIN, CEILING)]
        uneven = is_uneven(mean_loads(results)[[PLAIN.name, CEILING.name]])
        rows, several = (table.loc[PLAIN.name], table.loc[CEILING.name]), len(processors(results.mains)) > 1
        apart = max(max(own) / min(own) for own in steps)
        doubts = several, uneven, apart if apart > FAR_APART else 0
        show_markdown(say.arithmetic_text(*rows, PLAIN.title, CEILING.title, batch, *steps, *doubts))
    if table["activations"].notna().all() and (alike := training_step.activations_without_dropout(results)):
        without = [run.config.method for run in results.first_of_each() if not training_step.dropout_of(run.config)]
        show_markdown(say.dropout_text([name for name in without if name in alike], table["activations"], alike, batch))
    _show_parts(training_step.time_by_part(results))


def _show_parts(found: dict[str, Any]) -> None:
    """Where the milliseconds of each method's step go, as `time_by_part` found them."""
    if not found:
        show_markdown(say.no_parts_text())
        return
    spent = pd.DataFrame(found["ms"])
    step = spent.sum()
    whole = pd.concat([spent, step.to_frame("these steps").T]).map("{:,.0f}".format)
    if joules := found.get("joules"):  # records of earlier versions lack them
        whole.loc["energy of a step (J)"] = [f"{joules[name]:,.1f}" if name in joules else "–" for name in whole]
    shown = whole.rename(columns=title_of).rename_axis("Part (ms)")
    show_table(shown, say.parts_table(training_step.PROFILED, found["processor"], joules))
    if {PLAIN.name, CEILING.name} <= {*spent}:
        own, full = spent[PLAIN.name], spent[CEILING.name]
        changes = (own - full).abs().sort_values(ascending=False, kind="stable").index[:CHANGES_SAID]
        most = {name: (spent[name].idxmax(), spent[name].max() / step[name]) for name in (PLAIN.name, CEILING.name)}
        show_markdown(say.parts_text(most, {part: (full[part], own[part]) for part in changes}))


def audits(results: ExperimentRuns) -> None:
    """What an audit says of a card with the published claims, and of the cards of this experiment's runs."""
    example = pd.DataFrame([vars(finding) for finding in audit.audit_card(audit.EXAMPLE_CARD)])
    example = example.rename(columns=str.capitalize)[["Claim", "Verdict", "Found"]]
    show_table(example.replace("`", "", regex=True), say.audits_table())
    found = audit.audits_of_runs(results)
    runs = sum(not run.method.is_baseline for run in results.runs)
    show_markdown(say.audits_text(found["cards"], runs, found["findings"], found["checked"], found["refuted"]))


def _in_brackets(interval: Interval, form: str = ".2f") -> str:
    """A number of a table with its interval, where it has one of any width."""
    ends = f" [{interval.low:{form}}, {interval.high:{form}}]" if interval.low < interval.high else ""
    return f"{interval.estimate:{form}}{ends}"


def _in_order(wide: pd.DataFrame) -> list[str]:
    """The methods that a table has a row of, in the order of every table; for `loc`."""
    return [name for name in METHODS if name in wide.index]


def _of_two(square: pd.DataFrame) -> pd.Series:
    """The known values of a square table that stand beside its diagonal."""
    return square.where(~np.eye(len(square), dtype=bool)).stack().dropna()


def _show_sentences(sentences: list[str]) -> None:
    show_markdown("\n\n".join(escape_markdown(sentence) for sentence in sentences))
