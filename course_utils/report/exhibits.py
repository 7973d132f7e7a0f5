"""Every table and figure of the comparison chapter, each with its caption, alt text and the sentence it supports.

A function takes the runs of an experiment and shows what they allow. Where an experiment lacks what an exhibit needs,
the exhibit says so.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from course_utils.audit import audit
from course_utils.comparison import agreement, calibration, controls, tables
from course_utils.comparison.conclusions import experiment_verdicts
from course_utils.comparison.evaluation_time import evaluation_times
from course_utils.comparison.learning_rates import search_sentences, search_trials
from course_utils.comparison.tables import ExperimentRuns
from course_utils.comparison.weights import method_deltas, short_layer_name, subspace_overlaps
from course_utils.methods import CEILING, FLOOR, METHODS, PLAIN
from course_utils.methods.base import Method
from course_utils.report import plots
from course_utils.report.display import show_figure, show_markdown, show_table
from course_utils.runs import CARD, Run
from course_utils.stats import Interval, compare_pairs
from course_utils.text import escape_markdown, in_sentence, signed_points


def what_was_run(results: ExperimentRuns) -> None:
    """What this experiment is, and the runs of it that cannot be used."""
    experiment, record = results.experiment, results.runs[0].result
    sizes, epochs = record.data.sizes, experiment.shared.epochs
    show_markdown(
        f"This is experiment `{experiment.name}`: {experiment.profile.description} It has {len(results.runs)} finished "
        f"runs. The main ones were trained on {sizes['train']:,} sentences for {epochs} "
        f"epoch{'s' if epochs > 1 else ''} in {record.config.precision} and are judged on {sizes['test']:,} sentences "
        f"of the set *{_set_title(results)}*."
    )
    lost = [
        {"Study": m.config.study, "Method": METHODS[m.config.method].title, "Seed": m.config.seed, "Reason": m.reason}
        for m in results.missing
    ]
    if lost:
        show_table(pd.DataFrame(lost), "Runs that cannot be used. The others are compared without them.")


def learning_rates(results: ExperimentRuns) -> None:
    """The search for learning rates, and what it found."""
    trials = search_trials(results)
    if trials.empty:
        found = results.experiment.profile.found_by
        source = "those that the search of the profile `full` found" if found else "its profile's"
        show_markdown(f"This experiment does not search; its learning rates are {source}.")
        return
    best = trials[trials["best"]].set_index("method")
    show_figure(
        plots.search_curves(trials, _spread_of_rates(best["learning_rate"])),
        "Validation accuracy of every trial of the search, one epoch and one seed each, against the learning rate. "
        "The filled marker is the method's best.",
        "; ".join(
            f"{METHODS[name].title}: best {100 * row.accuracy:.1f} per cent at {row.learning_rate:g}"
            for name, row in best.iterrows()
        ),
    )
    _show_sentences(search_sentences(trials, results.experiment))


def _spread_of_rates(best: pd.Series) -> str:
    factor = best.max() / best.min()
    if factor == 1:
        return "All methods share a best learning rate"
    return f"The best learning rates differ by a factor of {factor:.0f}"


def accuracies(results: ExperimentRuns) -> None:
    """Accuracy and F1 with intervals, as a table and as a figure."""
    summary = results.summary
    table = tables.readable_summary(summary)
    table.insert(2, "Learning rate", summary["learning_rate"].map("{:g}".format).replace("nan", "–"))
    title = _set_title(results)
    show_table(
        table[["Method", "Seeds", "Learning rate", "Accuracy (%)", "F1 (%)"]],
        f"Accuracy and F1 of the positive class on {title}: mean over seeds, with 95% intervals.",
    )
    trained = tables.accuracy_in_per_cent(summary)
    show_figure(
        accuracy_figure(results),
        f"Accuracy on {title}: means over seeds and 95% intervals of the crossed bootstrap.",
        "; ".join(
            f"{row.title}: {row.estimate:.1f} per cent, interval {row.low:.1f} to {row.high:.1f}"
            for row in trained.itertuples()
        ),
    )


def accuracy_figure(results: ExperimentRuns) -> Figure:
    """Mean accuracy of every method with its interval: the figure that the README shows."""
    trained = tables.accuracy_in_per_cent(results.summary)
    best, full = trained.loc[trained["estimate"].idxmax()], trained[trained["method"] == CEILING.name]
    return plots.intervals(
        trained,
        f"{best.title} has the highest mean, {best.estimate:.1f}%",
        f"accuracy on {results.runs[0].result.data.titles['test']} (%)",
        full["estimate"].iloc[0] if len(full) else None,
        in_sentence(CEILING.title),
    )


def conclusions(results: ExperimentRuns) -> None:
    """The differences between all pairs, and the sentences that they allow."""
    pairs = compare_pairs(results.predictions.correct)
    differences = pd.DataFrame(
        {
            "Pair": f"{METHODS[pair.first].title} − {METHODS[pair.second].title}",
            "Difference [95%]": _points(pair.difference),
            "p (Holm)": "< 0.001" if pair.p_holm < 0.001 else f"{pair.p_holm:.3f}",
            "Would see 1 / 1.5 / 2 (%)": " / ".join(f"{100 * seen:.0f}" for seen in pair.power.of_difference.values()),
            "Within 1.5": "yes" if pair.equivalent else "not shown",
            "Would show it (%)": f"{100 * pair.power.of_equivalence:.0f}",
        }
        for pair in pairs
    )
    if len(differences):
        show_table(
            differences,
            "Differences in accuracy (points), first less second, over shared seeds and sentences. *Would see*: how "
            "often this design finds a true difference of so many points. *Within 1.5*: whether the two are shown to "
            "be equivalent. *Would show it*: how often this design shows that of two methods that do not differ.",
        )
    _show_sentences(experiment_verdicts(results))


def calibrations(results: ExperimentRuns) -> None:
    """Likelihood and calibration before and after temperature scaling."""
    scaled = calibration.scaled_predictions(results)
    table = calibration.calibration_table(scaled)
    wide = table.pivot(index="method", columns="stage", values=["nll", "brier", "ece"]).reindex(_in_order(table))
    after = table[table["stage"] == "after"].set_index("method")
    shown = pd.DataFrame({"Method": [METHODS[name].title for name in wide.index]}, index=wide.index)
    for metric, title in {"nll": "NLL (nats)", "brier": "Brier score", "ece": "ECE"}.items():
        pair = zip(wide[metric]["before"], wide[metric]["after"], strict=True)
        shown[title] = [f"{one:.3f} → {other:.3f}" for one, other in pair]
    shown["Temperature"] = after["temperature"].map("{:.2f}".format)
    show_table(
        shown.reset_index(drop=True),
        "Likelihood and calibration on the test set before → after temperature scaling, means over seeds. A "
        "temperature above one says that the method was too sure of itself.",
    )
    ece = wide["ece"]
    show_figure(
        plots.reliability_diagram(calibration.reliability(scaled), "How often a method is right when it says so"),
        "Reliability: accuracy among sentences of similar confidence, before and after temperature scaling. On the "
        "dashed line a method is right as often as it claims.",
        "; ".join(
            f"{METHODS[name].title}: calibration error {row.before:.3f} before and {row.after:.3f} after"
            for name, row in ece.iterrows()
        ),
    )
    worst = ece["before"].idxmax()
    show_markdown(
        f"Before scaling, {METHODS[worst].title} is the least well calibrated (ECE {ece['before'][worst]:.3f}). One "
        f"number for each run, fitted on validation, brings the methods' mean error from {ece['before'].mean():.3f} "
        f"to {ece['after'].mean():.3f} and changes no predicted class."
    )


def other_domains(results: ExperimentRuns) -> None:
    """Accuracy on the sets from elsewhere, and how far it falls."""
    rows = [
        {"method": run.config.method, "set": run.result.data.titles[name], "accuracy": 100 * metrics.accuracy}
        for run in results.runs
        for name, metrics in run.result.metrics.items()
        if run.config.study == "main" and name != "validation"
    ]
    by_set = pd.DataFrame(rows).groupby(["method", "set"], sort=False)["accuracy"].mean().reset_index()
    wide = by_set.pivot(index="method", columns="set", values="accuracy")
    wide = wide.loc[_in_order(by_set), by_set["set"].drop_duplicates()]
    named = wide.rename(index=lambda name: METHODS[name].title).rename_axis("Method").rename_axis(None, axis=1)
    show_table(
        named.reset_index(),
        "Accuracy (%) on the test set and on sets from elsewhere, mean over seeds.",
        {name: "{:.1f}" for name in named},
    )
    drop = (wide.iloc[:, :1].to_numpy() - wide.iloc[:, 1:]).mean()
    if drop.empty:
        return
    show_figure(
        plots.accuracy_by_set(by_set, f"The drop is largest on {drop.idxmax()}"),
        "Accuracy of every method on the test set and on sets from elsewhere, mean over seeds.",
        "; ".join(f"{name}: on average {_lower(lost)} than the test set" for name, lost in drop.items()),
    )
    show_markdown(
        f"Averaged over the methods and beside the test set, accuracy is {_lower(drop.max())} on "
        f"*{escape_markdown(drop.idxmax())}* and {_lower(drop.min())} on *{escape_markdown(drop.idxmin())}*."
    )


def agreements(results: ExperimentRuns) -> None:
    """How far the methods make the same predictions, and the sentences that defeat all of them."""
    predictions = results.predictions
    kappa = agreement.cohens_kappa(predictions.predicted)
    others = kappa.where(~_diagonal(kappa)).stack().dropna()  # none, where one method is finished
    if len(others):
        first, second = others.idxmax()
        show_figure(
            plots.overlap_map(kappa, f"{METHODS[first].title} and {METHODS[second].title} agree most", "Cohen's kappa"),
            "Cohen's kappa between the predictions of two methods with the same seed; on the diagonal, of one method "
            "with two seeds.",
            f"The highest kappa between two methods is {others.max():.2f}, the lowest {others.min():.2f}.",
        )
    sentences = _test_sentences(results)
    missed = agreement.missed_by_all(predictions, sentences)
    share = len(missed) / len(predictions.labels)
    show_markdown(
        f"Every run of every method misses the same {len(missed):,} of {len(predictions.labels):,} test sentences "
        f"({share:.1%}): no choice among these methods would have helped with them."
    )
    if len(missed):
        classes = results.experiment.shared.task.labels
        shown = pd.DataFrame({"Sentence": missed["text"], "Label": missed["label"].map(classes)})
        if "mean_rating" in missed:
            sides = ["negative", "neutral", "positive"]
            shown["Raters − / 0 / +"] = missed[sides].astype(str).agg(" / ".join, axis=1)
            shown["Mean"] = missed["mean_rating"].map("{:+.1f}".format)
        show_table(
            shown.head(8),
            "Sentences that every run of every method misses, the most strongly rated first, with the number of raters "
            "on each side of zero and their mean.",
        )


def human_ceiling(results: ExperimentRuns) -> None:
    """One rater against the others, overall and by how strongly a sentence was rated, beside the methods."""
    sentences = _test_sentences(results)
    if "ratings" not in sentences:
        show_markdown("The sentences of this experiment come without ratings, so there is no human ceiling to draw.")
        return
    table = agreement.accuracy_by_rating(results.predictions, sentences)
    ceiling = agreement.human_ceiling(sentences)
    weakest, strongest = table["rating"].iloc[0], table["rating"].iloc[-1]
    person = table[table["method"] == agreement.HUMAN].set_index("rating")["accuracy"]
    show_figure(
        plots.accuracy_by_rating(table, "Weakly rated sentences are hard for people, too"),
        "Accuracy of every method, and agreement of one human rater with the mean of the others, by how strongly the "
        "sentence was rated.",
        "; ".join(f"{rating}: one rater agrees in {100 * share:.0f} per cent" for rating, share in person.items()),
    )
    show_markdown(
        f"On the test set one rater has the sign of the others' mean in {ceiling:.1%} of cases: {person[weakest]:.0%} "
        f"where the absolute mean rating is {weakest}, {person[strongest]:.0%} where it is {strongest}. An accuracy "
        "above the first of these figures would not mean that a method reads better than people do; it would mean that "
        "it has learned what their average does."
    )


def weight_changes(results: ExperimentRuns) -> None:
    """Size, effective rank and directions of every method's update, on the layers that all of them change."""
    runs = {run.config.method: run for run in _first_seed(results) if run.method is not FLOOR}
    table = method_deltas(runs)
    if table["method"].nunique() < 2:
        return
    sizes = table.groupby("method")["relative norm"].mean()
    ranks = table.groupby("method")["effective rank"].mean()
    show_figure(
        plots.method_layers(
            table, "relative norm", f"{METHODS[sizes.idxmax()].title} moves the weights most", "‖ΔW‖ / ‖W₀‖"
        ),
        "Size of the update relative to the frozen weight, in every layer that all methods change (seed 0).",
        "; ".join(f"{METHODS[name].title}: {100 * size:.1f} per cent on average" for name, size in sizes.items()),
    )
    show_figure(
        plots.method_layers(
            table, "effective rank", f"{METHODS[ranks.idxmax()].title} uses the most directions", "effective rank of ΔW"
        ),
        "Effective rank of the update, in every layer that all methods change (seed 0).",
        "; ".join(f"{METHODS[name].title}: {rank:.1f} on average" for name, rank in ranks.items()),
    )
    _overlaps(results, runs)


def _overlaps(results: ExperimentRuns, runs: dict[str, Run]) -> None:
    again = {f"{PLAIN.title}, seed {run.config.seed}": run for run in results.of(PLAIN.name)[1:2]}
    overlaps, chance = subspace_overlaps(runs | again)
    between = overlaps.loc[list(runs), list(runs)]
    between = between.where(~_diagonal(between)).stack()
    first, second = (METHODS[name].title for name in between.idxmax())
    show_figure(
        plots.overlap_map(overlaps, f"{first} and {second} share the most directions"),
        "Overlap of the four strongest output directions of two updates, mean over layers (seed 0 unless named). "
        f"One: the same subspace; chance alone gives {chance:.2f}.",
        f"The highest overlap between two methods is {between.max():.2f}, the lowest {between.min():.2f}.",
    )
    sentence = (
        f"The updates of {first} and {second} share {between.max():.0%} of their four strongest directions, where two "
        f"random subspaces would share {chance:.0%}; the least that two methods share is {between.min():.0%}."
    )
    for name in again:
        sentence += (
            f" The scale to read this on is {PLAIN.title} with another seed, which shares "
            f"{overlaps.loc[PLAIN.name, name]:.0%} with {PLAIN.title}: methods of one seed start from the same factors "
            "and see the same order of sentences, and part of what they share is that."
        )
    show_markdown(sentence)


def sparsities(results: ExperimentRuns) -> None:
    """Every method that drops ranks, over its strengths, beside two controls: a pruned LoRA and one of smaller rank."""
    for method in (METHODS[name] for name in results.experiment.methods):
        if method.picture.gated and method.control:
            _sparsity(results, method, METHODS[method.control])


def _sparsity(results: ExperimentRuns, method: Method, control: Method) -> None:
    main = results.experiment.config(method.name).settings
    # the strength is what varies, nothing else: not the rate of a replication
    gated = [
        run
        for run in results.runs
        if run.method is method
        and run.config.final
        and run.config.settings == main.model_copy(update={"sparsity": _setting(run, "sparsity")})
    ]
    strengths = {_setting(run, "sparsity") for run in gated}
    plain = results.of(control.name)
    if len(strengths) < 2 or not plain:
        show_markdown("This experiment has one strength of the gates; the profile `full` compares several.")
        return
    layers = len(gated[0].result.method["ranks"])
    rows = [_ranked(method.title, run, sum(run.result.method["ranks"].values())) for run in gated]
    smaller = [run for run in results.runs if run.method is control and run.config.study.startswith("rank-")]
    of_that_rank, cut = f"{control.title} of that rank", f"{control.title}, pruned by size"
    rows += [_ranked(of_that_rank, run, layers * _setting(run, "rank")) for run in [*plain, *smaller]]
    counts = sorted({row["ranks"] for row in rows if 0 < row["ranks"] < layers * _setting(plain[0], "rank")})
    pruned = controls.pruned_accuracy(plain[0], counts)
    rows += [
        {"series": cut, "method": control.name, "setting": row.ranks, "ranks": row.ranks,
         "accuracy": 100 * row.accuracy}
        for row in pruned.itertuples()
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    fewest = table[table["series"] == method.title].sort_values("ranks").iloc[0]
    nearest = pruned.iloc[(pruned["ranks"] - fewest["ranks"]).abs().argmin()]
    show_figure(
        plots.accuracy_by_rank(table, "What is left of the accuracy when ranks go"),
        f"Test accuracy against the ranks that are left over all layers: {method.title} at several strengths, plain "
        f"{control.title} whose smallest ranks were cut off after training, and {control.title} trained with a smaller "
        "rank.",
        "; ".join(f"{row.series}, {row.ranks} ranks: {row.accuracy:.1f} per cent" for row in table.itertuples()),
    )
    left = {
        f"{_setting(run, 'sparsity'):g}": run.result.method["ranks"]
        for run in sorted(gated, key=lambda run: _setting(run, "sparsity"))
        if run.config.seed == 0
    }
    show_figure(
        plots.rank_map(
            pd.DataFrame(left).T.rename(columns=short_layer_name), "Where ranks survive", "strength of the pull"
        ),
        "Ranks that survive in every layer, by the strength of the pull (seed 0).",
        "; ".join(f"strength {name}: {sum(ranks.values())} ranks left" for name, ranks in left.items()),
    )
    trained = table[table["series"] == of_that_rank].sort_values("ranks").iloc[0]
    show_markdown(
        f"With {fewest['ranks']} ranks left, {method.title} reaches {fewest['accuracy']:.1f}%; plain {control.title} "
        f"cut to {nearest['ranks']} ranks after training reaches {100 * nearest['accuracy']:.1f}%. {control.title} "
        f"that was trained with {trained['ranks']} ranks from the start reaches {trained['accuracy']:.1f}%. "
        + _worth_of_the_gate(fewest["accuracy"], 100 * nearest["accuracy"], trained)
    )


def _worth_of_the_gate(gated: float, pruned: float, trained: pd.Series) -> str:
    """What the accuracies (per cent) of the sparsest gated run and of its two controls come to."""
    learned = "better" if gated > pruned else "no better"
    verdict = f"So gates choose ranks {learned} than a look at their size after training"
    if trained["accuracy"] > gated:
        return f"{verdict}; choosing a small rank beforehand does better than both, with no gate at all (one seed)."
    return f"{verdict}, and a smaller rank from the start does not replace them (one seed)."


def quantised_base(results: ExperimentRuns) -> None:
    """What the base model alone loses when its weights go to four bits."""
    quantised = [name for name in results.experiment.methods if METHODS[name].four_bit_base]
    if not quantised or not results.of(FLOOR.name):
        return
    found = controls.quantised_base_accuracy(results.of(FLOOR.name)[0])
    chance = "< 0.001" if found.p_value < 0.001 else f"= {found.p_value:.3f}"
    show_markdown(
        f"Putting the frozen encoder into four bits, with the head of the head-only run (seed 0) and nothing that can "
        f"adapt, changes the accuracy from {found.plain:.1%} to {found.quantised:.1%} (McNemar's exact "
        f"test: p {chance}). The layers lose between {found.errors.min():.1%} and {found.errors.max():.1%} of the norm "
        "of their weights."
    )


def costs(results: ExperimentRuns) -> None:
    """What the methods cost, and which of them no other beats."""
    summary = results.summary[results.summary["seeds"] > 0]
    table = tables.readable_summary(summary)
    sizes = ["Adapter (k)", "Head (k)", "Total (M)", "Adapter (MB)", "Head (MB)", "Base model (MB)"]
    show_table(
        table[["Method", *sizes]],
        "What the methods train and store: parameters trained outside the head (thousands), in the head, in all "
        "(millions); bytes on disk outside the head and for the head; bytes in memory of the frozen base model.",
    )
    times = evaluation_times({run.config.method: run for run in _first_seed(results)}).reindex(summary["method"])
    needs = ["Step (ms)", "Training (s)", "Evaluation, merged (ms)", "Not merged (ms)", "Peak memory (MB)"]
    table["Evaluation, merged (ms)"] = times["merged"].map("{:.2f}".format).to_numpy()
    table["Not merged (ms)"] = times["unmerged"].map("{:.2f}".format).to_numpy()
    show_table(
        table[["Method", *needs]],
        "What the methods need: median training step, all training steps of a run, time to classify one sentence with "
        "the update merged into the frozen weights and beside them (measured in turn while this chapter ran), and peak "
        "memory of the process that trained.",
    )
    trained = tables.accuracy_in_per_cent(summary).join(times, on="method")
    in_megabytes = ["bytes_adapter", "bytes_base_model", "peak_memory_bytes"]
    trained[in_megabytes] = trained[in_megabytes].astype(float) / 1e6
    axes = {
        "parameters_adapter": "parameters outside the head",
        "bytes_adapter": "on disk outside the head (MB)",
        "bytes_base_model": "base model in memory (MB)",
        "peak_memory_bytes": "peak memory (MB)",
        "step_ms_median": "median step (ms)",
        "merged": "evaluation, merged (ms)",
        "unmerged": "evaluation, not merged (ms)",
    }
    fronts = pd.DataFrame(
        {column: plots.pareto_front(trained[column].astype(float), trained["estimate"]) for column in axes}
    ).set_axis(trained["title"])
    show_figure(
        plots.cost_scatter(trained, axes, "Accuracy against seven costs"),
        "Accuracy with its interval against each cost. The grey line joins the methods that no other beats in both "
        "(the Pareto front). Total parameters differ by the adapter alone, and have the front of the first panel.",
        "; ".join(
            f"{row.title}: {row.parameters_adapter:,.0f} parameters, {row.step_ms_median:.0f} milliseconds, "
            f"{row.estimate:.1f} per cent"
            for row in trained.itertuples()
        ),
    )
    on = fronts.sum(axis=1).sort_values(ascending=False, kind="stable")
    _show_sentences(
        [
            f"Of the {len(axes)} fronts, "
            + "; ".join(f"{title} is on {number or 'none'}" for title, number in on.items())
            + ". The most accurate method and the cheapest one are always on a front; what counts is who else is."
        ]
    )


def audits(results: ExperimentRuns) -> None:
    """What an audit says of a card with the published claims, and of the cards of this experiment's runs."""
    example = pd.DataFrame([vars(finding) for finding in audit.audit_card(audit.EXAMPLE_CARD)])
    show_table(
        example.rename(columns=str.capitalize)[["Claim", "Verdict", "Found"]],
        "The claims of a card that states the published figures, and what comes out when they are computed again.",
    )
    cards = [run.folder / CARD for run in results.runs if not run.method.is_baseline]
    findings = [finding for card in cards for finding in audit.audit_card(card)]
    checked = sum(finding.verdict in (audit.HOLDS, audit.REFUTED) for finding in findings)
    refuted = [finding.claim for finding in findings if finding.verdict == audit.REFUTED]
    verdict = f"{len(refuted)} {'is' if len(refuted) == 1 else 'are'} refuted" if refuted else "none is refuted"
    show_markdown(
        f"The {len(cards)} cards that the runs of this experiment wrote make {len(findings):,} claims. Of the "
        f"{checked:,} that could be computed again, {verdict}"
        + (f": {escape_markdown('; '.join(dict.fromkeys(refuted)))}." if refuted else ".")
    )


def side_studies(results: ExperimentRuns) -> None:
    """The accuracy of the side studies that are of all methods, such as the replication at the card's rate."""
    for study, spec in results.experiment.studies.items():
        if not spec.final or len(spec.methods) < 2:
            continue
        summary = tables.summary_table(results, study)
        if (summary["seeds"] > 0).any():
            shown = tables.readable_summary(summary)[["Method", "Seeds", "Accuracy (%)", "F1 (%)"]]
            show_table(shown, f"Side study. {spec.title}.")


def _ranked(series: str, run: Run, ranks: float) -> dict:
    setting = _setting(run, "sparsity" if run.method.picture.gated else "rank")
    accuracy = 100 * run.result.metrics["test"].accuracy
    return {"series": series, "method": run.config.method, "setting": setting, "ranks": ranks, "accuracy": accuracy}


def _setting(run: Run, name: str) -> float:
    return getattr(run.config.settings, name)


def _points(difference: Interval) -> str:
    return f"{signed_points(difference.estimate)} [{signed_points(difference.low)}, {signed_points(difference.high)}]"


def _first_seed(results: ExperimentRuns) -> list[Run]:
    return [own[0] for name in results.experiment.methods if (own := results.of(name))]


@cache
def _test_sentences(results: ExperimentRuns) -> pd.DataFrame:
    """The test sentences, with the ratings of each where people rated them."""
    test = results.experiment.shared.load_data().sets["test"]
    return agreement.with_ratings(test) if "mean_rating" in test else test


def _in_order(table: pd.DataFrame) -> list[str]:
    return [name for name in METHODS if name in set(table["method"])]


def _diagonal(square: pd.DataFrame):
    return np.eye(len(square), dtype=bool)


def _lower(points: float) -> str:
    return f"{abs(points):.1f} points {'lower' if points > 0 else 'higher'}"


def _set_title(results: ExperimentRuns) -> str:
    return escape_markdown(results.runs[0].result.data.titles["test"])


def _show_sentences(sentences: list[str]) -> None:
    show_markdown("\n\n".join(escape_markdown(sentence) for sentence in sentences))
