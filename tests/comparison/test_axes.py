"""An axis holds runs that differ in its factor alone; what it says follows from answers that are known."""

import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from jinja2 import Environment, nodes
from made_up import make_up_baselines, write_axes, write_run
from small import ADAPTER, FULL, GATED, HEAD, MULTIPLIED

from course_utils import config as configuration
from course_utils import runs
from course_utils.comparison import axes
from course_utils.comparison import sparsity as ways
from course_utils.comparison.agreement import variance_by_raters
from course_utils.comparison.axes import (
    Leaders,
    contrasts,
    interactions,
    leaders,
    read_axis,
    validation_accuracy,
    validation_likelihood,
)
from course_utils.comparison.baselines import FROZEN
from course_utils.comparison.conclusions import experiment_verdicts, judge
from course_utils.comparison.results import read_runs
from course_utils.config import PROFILES, load_experiment
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.report import choice, criteria, dependence, origins, rates, sparsity, training_size
from course_utils.report.abstract import finding
from course_utils.report.display import TEMPLATES

EXPERIMENT = load_experiment("full", {"precision": "fp32"})
OTHER = next(name for name in METHODS if name not in EXPERIMENT.methods)


def accuracy_of(config):
    """With few texts one adapter is ahead, with many another; on all layers adapters reach the ceiling."""
    if config.method == MULTIPLIED:
        return 0.6 if config.max_train < 1_500 else 0.7 if config.max_train < 3_500 else 0.9
    if config.method == FULL:
        return 0.8 if config.settings.trained_modules else 0.9
    ahead = 0.1 if getattr(config.settings, "target_modules", ()) else 0.0
    return {ADAPTER: 0.8, GATED: 0.7}.get(config.method, 0.75) + ahead


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with the runs of all axes."""
    folder = tmp_path_factory.mktemp("axes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_RUNS", str(folder))
        write_axes(EXPERIMENT, accuracy_of)
    return folder


@pytest.fixture
def results(written, monkeypatch):
    monkeypatch.setenv("COURSE_RUNS", str(written))
    make_up_baselines(monkeypatch)
    return read_runs(EXPERIMENT)


def test_the_main_runs_are_a_point_of_the_size_axis_and_all_points_have_the_same_seeds(results):
    series = {own.method: own for own in read_axis(results, "max_train")}
    assert [*series] == EXPERIMENT.methods
    assert all([*own.points] == [500, 1_500, 3_500, 7_000] and own.seeds == [0, 1, 2] for own in series.values())
    assert {run.config.study for run in series[ADAPTER].points[3_500]} == {"main"}
    laws = read_axis(results, "rank")
    assert [[*own.points] for own in laws] == [[1, 2, 4, 8, 16]] * 3 + [[8, 16]]
    assert [ways.keeps_scale(own) for own in laws] == [True, False, False, True]


@pytest.mark.slow
def test_a_turn_of_the_lead_is_found_said_and_on_the_title_page(results, shown, monkeypatch):
    training_size.accuracy_by_size(results)
    said = "\n".join(word for word in shown if isinstance(word, str))
    assert "LoRA has the highest mean accuracy with 500 and 1,500 texts and HiRA with 3,500" in said
    table = next(word for word in shown if isinstance(word, pd.DataFrame) and "Texts" in word).set_index("Texts")
    assert table.loc[500, "Baseline with the highest mean"] == "Frozen base and logistic regression"
    assert table.loc[500, "Accuracy (%) [95%]"].startswith("60.0 [")
    above = table["More accurate than each baseline"]
    assert "Full fine-tuning" in above[500] and "HiRA" not in above[500] and "HiRA" in above.iloc[-1]
    assert (
        "From 500 to 3,500 texts, the difference HiRA − LoRA changes by +30.0" in said
        and "the difference depends on" in said
    )
    axis = training_size.size_axis(results, axes.validation_likelihood)
    answers = {own.method: own.correct[500] for own in axis.series}
    whole = judge(answers, variance_by_raters(results)).pairs  # head only is judged, and not told
    assert axis.pairs[500] == [pair for pair in whole if HEAD not in (pair.first, pair.second)] != whole
    sentence = finding(results)
    assert sentence.startswith("Trained on 3,500 texts, HiRA has the highest mean accuracy")
    turn = "\n\nWith 500 and 1,500 texts LoRA has the highest mean, and the difference between the two is shown"
    assert f"{turn} to change." in sentence
    one_seed = [run for run in results.runs if run.config.study == "main" or run.config.seed == 0]
    for found, taken in ((results, "LoRA"), (type(results)(EXPERIMENT, one_seed, []), "no choice")):
        shown.clear()
        choice.which_when(found)
        assert shown[1].set_index("What counts").loc["Few training texts (500)", "Take"] == taken
    always = {FROZEN.name: "1" * len(results.predictions.labels)}
    monkeypatch.setattr(axes, "baselines_by_size", lambda results: {"500": always})
    training_size.size_axis.cache_clear()
    shown.clear()
    choice.which_when(results)
    assert shown[1].set_index("What counts").loc["Few training texts (500)", "Take"] == "none"


@pytest.mark.slow
def test_placement_and_rank_are_said_as_they_are(results, shown):
    dependence.placements(results)
    said = "\n".join(word for word in shown if isinstance(word, str))
    table = next(word for word in shown if isinstance(word, pd.DataFrame) and "Verdict" in word)
    table = table.set_index("First against second")
    everything = "against full fine-tuning of everything"
    for label, start, verdict in (
        ("LoRA on all linear layers against query and value", "+10.0", "more accurate"),
        (f"LoRA on query and value {everything}", "−10.0", "less accurate"),
        (f"LoRA on all linear layers {everything}", "0.0", "equivalent"),
    ):
        assert table.loc[label, "Difference [95%]"].startswith(start) and table.loc[label, "Verdict"] == verdict
    assert "corrects all pairs of methods with this number of training texts together" in said and re.search(
        r"LoRA \+10.0 .* \(shown\);", said
    )
    shown.clear()
    dependence.ranks(results)
    assert "No difference from rank 8 is shown" in shown[0].get_title(loc="left")
    (table,) = (word for word in shown if isinstance(word, pd.DataFrame))
    assert len(table) == 12 and set(table["Verdict"]) == {"equivalent"}


def test_what_accuracy_would_choose_is_said_with_the_leaders_and_the_verdicts_that_change():
    found, led = (Leaders(3_500, {500: best, 3_500: ADAPTER}, {}, [0, 1, 2]) for best in (ADAPTER, MULTIPLIED))
    chosen = [(ADAPTER, 500, 0.003, 81.66), (FULL, 500, 1e-4, 80.0)]
    said = criteria.say.by_accuracy(chosen, training_size.say.with_size, True, {}, (), found, led)
    assert "0.003 for LoRA with 500 texts (test accuracy 81.7%) and 0.0001 for full fine-tuning with" in said
    assert "another adapter method has the highest mean: HiRA with 500 texts." in said
    assert said.strip().endswith("no comparison of this section has another verdict.")
    said = criteria.say.by_accuracy(chosen, training_size.say.with_size, False, {}, (), found, found).strip()
    assert said.endswith("At these rates the same adapter methods have the highest means.")
    one = frame(0.1)
    judged = contrasts({"the change of one difference": one, "Full fine-tuning against another": one})
    changes = ["the change of one difference"]
    said = criteria.say.by_accuracy(chosen, training_size.say.with_size, True, judged, changes, None, None)
    assert re.search(
        r"be another: the change of one difference \(.*, a change is shown\); full fine-tuning .*, more acc", said
    )


@pytest.mark.slow
def test_a_rate_that_is_tried_for_one_rank_is_said():
    text = dependence.say.ranks_text({"LoRA, s = 2": {1: (0.003, [0.001, 0.003])}}, {}, 8)
    assert "tried at rank 1 (0.001 and 0.003), the likelihood of the validation texts chose 0.003." in text
    assert "All other runs of this axis have one learning rate." in text
    assert "All these runs have one learning rate." in dependence.say.ranks_text({}, {}, 8)


@pytest.mark.parametrize("exhibit", [dependence.placements, dependence.ranks], ids=lambda exhibit: exhibit.__name__)
def test_the_origins_name_every_study_that_an_exhibit_reads(results, shown, monkeypatch, exhibit):
    read, of = set(), type(results).of
    monkeypatch.setattr(
        type(results), "of", lambda own, method, study="main": read.add(study) or of(own, method, study)
    )
    exhibit(results)
    said = origins.entry(origins.Origin("06_comparison", 1, f"dependence.{exhibit.__name__}"), EXPERIMENT)
    assert len(read) > 5 and all(f"`{study}`" in said for study in read - {"main"})  # the margin is that of main


def test_a_head_with_a_rate_of_its_own_is_compared_with_the_same_method(results, shown):
    rates.head_rates(results)
    table, caption, said = shown
    assert len(table) == len(EXPERIMENT.studies["head-rate"].methods) and "a head that learns at 0.003" in caption
    assert table["Difference [95%]"].str.startswith("0.0 [").all() and "No change is shown" in said
    usual = EXPERIMENT.config(ADAPTER).settings.learning_rate
    assert table.set_index("Method").loc[METHODS[ADAPTER].title, "Head at its usual rate"].startswith(f"{usual:g}: ")


def test_methods_without_dropout_are_compared_with_the_same_methods_with_it(results, shown):
    rates.without_dropout(results)
    table, caption, _ = shown
    assert len(table) == len(EXPERIMENT.studies["no-dropout"].methods) and "1,500 training texts" in caption
    assert (
        table["With dropout"].str.startswith("0.1: ").all() and table["Dropout 0"].str.contains("[", regex=False).all()
    )


def test_another_rate_is_set_beside_that_of_the_main_runs(results, shown):
    rates.learning_rates(results)
    table, caption, said, led = shown
    study = EXPERIMENT.studies["by-accuracy"]
    assert set(table["Method"]) == {METHODS[method].title for method in study.methods}
    assert study.title in caption and "3,500 training texts" in caption
    other, usual = [EXPERIMENT.config(FULL, study=name).settings.learning_rate for name in ("by-accuracy", "main")]
    row = table.set_index("Method").loc[METHODS[FULL].title]
    assert row["Another rate"].startswith(f"{other:g}: 90.0 [")
    assert row["That of the main runs"].startswith(f"{usual:g}: 90.0 [") and "No change is" in said
    assert f"{METHODS[MULTIPLIED].title} has the highest mean" in led and "as it has at the rates of the main" in led
    assert rates.understated(results) == [] and rates.rate_regime(results, MULTIPLIED) == ""
    assert f"{METHODS[MULTIPLIED].title} would have the highest mean" in (said := rates.rate_regime(results, ADAPTER))
    assert "is shown to be more" not in said  # the same pairs are shown at both rates


def test_the_likelier_of_two_rates_stands_for_a_placement_and_what_accuracy_would_choose_is_said(results, shown):
    """Of those beside, too, where they were trained at a second rate; the main runs keep the rate of the search."""
    for run in results.of(ADAPTER, "size-1500"):
        run.result.metrics["validation"] = run.result.metrics["validation"].model_copy(update={"nll": 0.9})
    for by, study in ((validation_likelihood, "size-1500-rates"), (validation_accuracy, "size-1500")):
        (own,) = (series for series in read_axis(results, "target_modules", by) if series.method == ADAPTER)
        assert {run.config.study for run in own.points[()]} == {study}
    dependence.placements(results)
    assert "would choose 0.001 for LoRA on query and value (test accuracy 80.0%)" in shown[-1]
    assert "no comparison of this section has another verdict." in shown[-1]
    for run in results.of(ADAPTER, "size-1500-rates"):  # the likelier ones are always right
        run.__dict__["answers"] = run.answers.assign(predicted=run.answers["label"])
    dependence.placements(results)
    assert "would be another: LoRA on all linear layers against query and value (+10.0" in shown[-1]
    assert "LoRA on query and value against full fine-tuning of everything (−10.0" in shown[-1]
    training_size.size_axis.cache_clear()
    training_size.accuracy_by_size(results)
    assert "full fine-tuning against LoRA with 1,500 texts (+10.0" in shown[-3]
    (law, *_) = read_axis(results, "rank")
    assert {run.config.study for run in law.points[8]} == {"size-1500"}
    assert {run.config.study for size in read_axis(results, "max_train")[0].points.values() for run in size} >= {"main"}


def test_an_experiment_without_an_axis_says_what_it_holds_and_leaves_out(runs_in, shown):
    smoke = load_experiment("smoke", {"precision": "fp32"})
    write_run(smoke.config(ADAPTER), 0.8)
    for exhibit in (training_size.accuracy_by_size, dependence.placements, dependence.ranks, sparsity.against_size):
        exhibit(read_runs(smoke))
    assert [text.partition(".")[0] for text in shown] == [
        "The finished main runs do not vary the number of training texts: 1,000",
        "The finished main runs do not vary the choice of adapted layers: query and value",
        "The finished main runs do not vary the rank: 8",
        "The finished main runs do not vary the strength of the gates: 1",
    ]


STRAYS = {
    "the data": lambda result: result["data"].update(fingerprint="0" * 64),
    "the base model": lambda result: result["base_model"].update(fingerprint="c" * 64),
    "the code of methods.base": lambda result: result["code"].update({"methods.base": "0" * 16}),
    "epochs": lambda result: result["config"].update(epochs=9),
    "learning_rate": lambda result: result["config"]["settings"].update(learning_rate=0.5),
}


@pytest.mark.parametrize("what", STRAYS)
def test_no_exhibit_gets_runs_of_which_one_differs(results, what):
    """Every exhibit takes an ExperimentRuns, and none with a stray can be made."""
    for study, method in (("main", ADAPTER), ("size-500", ADAPTER), ("sparsity-2.5", GATED), ("rank-1", ADAPTER)):
        run = next(run for run in results.of(method, study) if run.config.seed == 1)
        record = run.result.model_dump()
        STRAYS[what](record)
        stray = runs.Run(run.folder, runs.RunResult.model_validate(record))
        with pytest.raises(CourseError, match=f"differs from .* in {what}"):
            type(results)(EXPERIMENT, [stray if other is run else other for other in results.runs], [])


def test_a_run_of_another_rate_is_in_no_other_axis(results):
    """As those at a published card's rate, which were once drawn among the strengths."""
    assert results.of(FULL, "by-accuracy")
    for factor in ("max_train", "rank", "sparsity", "target_modules"):
        runs_of_it = [run for own in read_axis(results, factor) for group in own.points.values() for run in group]
        assert runs_of_it and not [run for run in runs_of_it if run.config.study == "by-accuracy"]


RATES = """
[studies.twice]
title = "At twice the rate"
varies = ["learning_rate"]
methods = { ADAPTER = { learning_rate = 2e-3 }, MULTIPLIED = { learning_rate = 2e-2 } }

[studies.tenfold]
title = "At ten times the rate"
varies = ["learning_rate"]
methods = { ADAPTER = { learning_rate = 1e-2 } }

[studies.fewer]
title = "Fewer texts"
varies = ["max_train"]
settings = { max_train = 50 }
methods = { ADAPTER = {}, MULTIPLIED = {} }

[studies.fewer-twice]
title = "Fewer texts, at twice the rate"
varies = ["learning_rate"]
beside = "fewer"
settings = { max_train = 50 }
methods = { ADAPTER = { learning_rate = 2e-3 }, MULTIPLIED = { learning_rate = 2e-2 } }
"""


@pytest.fixture
def with_rates(tmp_path, monkeypatch, runs_in):
    """Runs of studies of the learning rate, two of them beside the main runs; in each, more of the rate is better."""
    text = (PROFILES / "smoke.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(
        text + RATES.replace("ADAPTER", ADAPTER).replace("MULTIPLIED", MULTIPLIED), encoding="utf-8"
    )
    monkeypatch.setattr(configuration, "PROFILES", tmp_path)
    experiment = load_experiment("mine", {"precision": "fp32", "seeds": 3, "methods": [ADAPTER, MULTIPLIED]})
    for run in experiment.configs():
        usual = experiment.config(run.method).settings.learning_rate
        accuracy = 0.6 + 0.02 * run.settings.learning_rate / usual
        write_run(run, accuracy, train=50 if "fewer" in run.study else 1_000, validated=True)
    return read_runs(experiment)


def test_a_method_whose_other_rate_is_better_is_shown_beside_a_side_study_too(with_rates):
    series = [own for own in read_axis(with_rates, "learning_rate") if own.beside == "fewer"]
    assert [own.method for own in series] == [ADAPTER, MULTIPLIED] and all(len(own.points) == 2 for own in series)


def test_every_rate_that_was_tried_is_shown_under_its_own_title(with_rates, shown):
    rates.learning_rates(with_rates)
    tables = {shown[place + 1]: frame for place, frame in enumerate(shown) if isinstance(frame, pd.DataFrame)}
    found = {
        caption.partition(".")[0]: [*frame["Another rate"].str.partition(":")[0]] for caption, frame in tables.items()
    }
    assert found == {
        "At twice the rate": ["0.002", "0.02"],
        "At ten times the rate": ["0.01"],
        "Fewer texts, at twice the rate": ["0.002", "0.02"],
    }
    usual = EXPERIMENT.config(ADAPTER).settings.learning_rate
    assert all(frame["That of the main runs"][0].startswith(f"{usual:g}:") for frame in tables.values())


def test_a_whole_study_of_other_code_is_refused_where_it_meets_the_others(results):
    for run in results.of(ADAPTER, "rank-1"):
        run.result.code["methods.base"] = "0" * 16
    with pytest.raises(CourseError, match=r"differs from .* in the code of methods\.base"):
        read_axis(results, "rank")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{ rank = 1 }", "{ rank = 1, dropout = 0.5 }", "rank-1-alpha-16: .* differs from size-1500 in dropout, too"),
        ("{ rank = 1 }", "{ rank = 8 }", f"rank-1-alpha-16: varies rank, in which its runs of {ADAPTER} do not differ"),
        ('"alpha", "use_rslora"]', '"alpha", "use_rsolra"]', "rank-1-rslora: varies names use_rsolra, .*use_rslora"),
        (
            "[methods.default]",
            f"[studies.other]\ntitle = 'Other'\n[studies.other.methods.{OTHER}]",
            "other: the profile",
        ),
    ],
    ids=["more than it says", "nothing", "no setting", "of a method that the profile lacks"],
)
def test_a_study_that_is_not_what_it_says_is_refused_by_name(tmp_path, monkeypatch, old, new, said):
    text = (PROFILES / "full.toml").read_text(encoding="utf-8").replace(old, new)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(configuration, "PROFILES", tmp_path)
    with pytest.raises(CourseError, match=f"studies.{said}"):
        load_experiment("mine")


def frame(mean, seeds=3, texts=400):
    drawn = np.random.default_rng(0).normal(0, 0.3, (seeds, texts))
    return pd.DataFrame(drawn - drawn.mean() + mean)


def test_a_contrast_has_a_verdict_for_each_outcome():
    found = contrasts({"up": frame(0.1), "down": frame(-0.1), "open": frame(0.01)})
    assert {name: contrast.verdict for name, contrast in found.items()} == {
        "up": "above", "down": "below", "open": "open"
    }  # fmt: skip
    assert contrasts({0: frame(0.0, texts=3_000)}, margin=0.05)[0].verdict == "equivalent"
    assert contrasts({0: frame(0.1, seeds=2)})[0].verdict == "open"  # too few seeds
    assert found["up"].negated().verdict == "below"


@pytest.mark.slow
def test_interactions_that_are_not_there_are_seldom_found():
    random, found, (methods, sizes, seeds, texts) = np.random.default_rng(0), 0, (5, 3, 3, 400)
    for _ in range(100):
        cells = np.stack([random.normal(size=texts)] * methods * sizes).reshape(methods, sizes, 1, texts)
        cells = cells + random.normal(0, 0.5, (methods, sizes, 1, texts))
        of_seeds = random.normal(0, 1, (methods, sizes, seeds, 1)) * np.array([0.3, 0.12, 0.06])[:, None, None]
        cells = cells + of_seeds + random.normal(0, 0.5, (seeds, texts))
        right = (cells > -1).astype(int)
        gain = right[:, -1:] - right[:, :-1]
        values = {
            (one, other, size): pd.DataFrame(gain[one, size] - gain[other, size])
            for one, other in combinations(range(methods), 2)
            for size in range(sizes - 1)
        }
        judged = contrasts(values, independent=methods - 1, alike=lambda key: key[2])
        found += any(contrast.verdict in ("above", "below") for contrast in judged.values())
    assert found <= 10


def test_the_interaction_is_a_difference_of_differences(results):
    series = [own for own in read_axis(results, "max_train") if own.method in (ADAPTER, MULTIPLIED)]
    changes = interactions(series, 3_500)
    assert changes[ADAPTER, MULTIPLIED, 500].difference.estimate == pytest.approx(-0.3)
    found = leaders(series, changes, 3_500)
    assert found.best == {500: ADAPTER, 1_500: ADAPTER, 3_500: MULTIPLIED, 7_000: MULTIPLIED}
    assert found.turns[500].difference.estimate == pytest.approx(0.3)
    told, other = (training_size.say.in_finding(found, best, {}) for best in (MULTIPLIED, ADAPTER))
    assert "has the highest mean, " in told and "all training sizes share" not in told
    assert "On seeds 0, 1 and 2, which all training sizes share, " in other
    assert f" and {METHODS[MULTIPLIED].title} with 3,500 and 7,000 texts, and a difference" in other


OTHER_GATES = """
[studies.far-gates]
title = "Gates that reach farther"
varies = ["gate_reach"]
beside = "size-1500"
settings = { max_train = 1500 }
methods = { GATED = { gate_reach = 7 } }

[studies.more-ranks]
title = "More ranks at the start"
varies = ["rank", "alpha"]
beside = "size-1500"
settings = { max_train = 1500 }
methods = { GATED = { rank = 12, alpha = 24 } }

[studies.without-gates]
title = "More ranks of a method without gates"
varies = ["rank"]
beside = "size-1500"
settings = { max_train = 1500 }
methods = { MULTIPLIED = { rank = 12 } }
"""


def test_what_other_gates_change_is_said_with_the_setting_that_is_likeliest(runs_in, shown, monkeypatch, tmp_path):
    """One setting is always right, another one is the likeliest."""
    text = (PROFILES / "full.toml").read_text("utf-8") + OTHER_GATES.replace("GATED", GATED).replace(
        "MULTIPLIED", MULTIPLIED
    )
    (tmp_path / "full.toml").write_text(text, "utf-8")
    monkeypatch.setattr(configuration, "PROFILES", tmp_path)
    experiment = load_experiment("full", {"seeds": 3, "methods": [GATED, MULTIPLIED]})
    accuracy = {"main": 0.7, "size-1500": 0.7, "far-gates": 0.9, "more-ranks": 0.7, "without-gates": 0.7}
    for config in experiment.configs():
        if config.study in accuracy:
            right = accuracy[config.study] + 0.01 * config.seed
            write_run(config, right, data="d" * 64, train=config.max_train, validated=True)
    results = read_runs(experiment)
    for run in results.runs:
        if run.config.method == GATED:
            run.result.method["ranks"] = {"query": 4, "value": 3}
    for run in results.of(GATED, "more-ranks"):
        run.result.metrics["validation"] = run.result.metrics["validation"].model_copy(update={"nll": 0.1})
    sparsity.other_gates(results)
    table, caption, said = shown
    assert [*table["Setting"]] == [
        "as in the main runs (reach 5, rank at the start 8)",
        "reach 7",
        "rank at the start 12",
    ]
    assert {*table["Ranks left"]} == {"7.0"} and "seeds 0, 1 and 2" in caption
    more = re.fullmatch(r"(.*) is shown to be more accurate with (.*) \(.*\) than .* setting: (.*)\.", said)
    assert more.groups() == (METHODS[GATED].title, "reach 7", "rank at the start 12")
    shown.clear()
    sparsity.other_gates(type(results)(experiment, [run for run in results.runs if run.config.seed == 0], []))
    assert shown[2].startswith("With 1 seed, nothing is concluded.")
    shown.clear()
    beside_lost = [run for run in results.runs if run.config.study != "size-1500"]
    sparsity.other_gates(type(results)(experiment, beside_lost, []))
    assert shown == []
    dependence.ranks(results)
    (table,) = (word for word in shown if isinstance(word, pd.DataFrame))
    assert {law.partition(",")[0] for law in table["Law of the scale"]} == {METHODS[MULTIPLIED].title}


def test_the_sparsity_is_drawn_and_said_at_equal_size(shown):
    right = pd.DataFrame(np.arange(400) < 340, columns=[0]).T
    correct = pd.concat([right] * 3, ignore_index=True)
    worse = correct & (np.arange(400) >= 40)
    points = [ways.Sized(ways.GATED, s, 1_000 * s, worse) for s in (1.0, 2.0)]
    points += [ways.Sized(ways.CUT, s, 1_000 * s, correct) for s in (1.0, 2.0)]
    points += [ways.Sized(ways.CUT_TRAINED, s, 1_000 * s, correct) for s in (1.0, 2.0)]
    points += [ways.Sized(ways.BY_LOT, s, 1_000 * s, worse) for s in (1.0, 2.0)]
    points += [ways.Sized(ways.CUT_STORED, s, 2_000 * s, correct) for s in (1.0, 2.0)]
    points += [ways.Sized(ways.BY_LOT_STORED, s, 2_000 * s, worse) for s in (1.0, 2.0)]
    points += [
        ways.Sized(ways.OTHER_RANK, 4, 9_000, correct),
        ways.Sized(ways.WHOLE, 0, 18_000, correct),
    ]
    points += [ways.Sized(way, 0.5, 9_000, worse) for way in (ways.ENTRIES, ways.GRADUALLY)]
    sparsity.show_against_size(GATED, points, texts=3_500, margin=0.015, times=[2.0, 2.0])
    said = "\n".join(word for word in shown if isinstance(word, str))
    assert (
        "A LoRA cut by singular values to its effective size is shown to be better than Sparse LoRA at 2 of 2"
        in shown[0].get_title(loc="left")
    )
    (table,) = (word for word in shown if isinstance(word, pd.DataFrame))
    cells = table.set_index("Sparse LoRA against")["strength 1"]
    assert [cell.partition(" ")[0] for cell in cells] == ["−10.0"] * 4 + ["0.0"] * 2
    assert [cell[-1] for cell in cells] == ["*"] * 4 + ["≈"] * 2 and said.count("against LoRA whole: −10.0") == 2


VERDICTS = PROJECT / "course_utils" / "comparison" / "verdicts.txt.jinja"
COMPARATIVE = re.compile(
    r"\b(better|worse|(more|less) accurate|higher|lower|above|below|hardly|gains?|loses?|beats?)\b"
)


JUDGING = re.compile(COMPARATIVE.pattern + r"|\b(highest|lowest|significant|shown|equivalent|lead|ahead|changes by)\b")


def unbranched(node):
    """The text of a Jinja template that stands in no branch."""
    if isinstance(node, nodes.TemplateData):
        yield node.data
    elif not isinstance(node, nodes.If):
        for child in node.iter_child_nodes():
            yield from unbranched(child)


def comparatives(source):
    """The texts of a template that stand in no branch and compare."""
    return [text for text in unbranched(Environment().parse(source)) if COMPARATIVE.search(text)]


def test_a_comparative_word_stands_in_a_branch():
    sources = {path.name: path.read_text("utf-8") for path in [*TEMPLATES.glob("*.md.jinja"), VERDICTS]}
    says_what_is_not_said = "not shown to be less accurate"
    found = {name: comparatives(source.replace(says_what_is_not_said, "")) for name, source in sources.items()}
    assert len(found) > 10 and not {name: texts for name, texts in found.items() if texts}
    assert comparatives("A is better{% if b %} lower{% endif %}") == ["A is better"]


@pytest.mark.slow
def test_two_experiments_of_opposite_outcomes_share_no_comparison(results, shown, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path))
    write_axes(EXPERIMENT, lambda config: 1.5 - accuracy_of(config))
    said = []
    for found in (results, read_runs(EXPERIMENT)):
        shown.clear()
        for exhibit in (training_size.accuracy_by_size, dependence.placements, rates.learning_rates):
            exhibit(found)
        texts = [finding(found), *experiment_verdicts(found), *(word for word in shown if isinstance(word, str))]
        sentences = {sentence for text in texts for sentence in re.split(r"(?<=[.;:])\s+", text)}
        judging = [sentence for sentence in sentences if JUDGING.search(sentence)]
        said.append({sentence for sentence in judging if any(METHODS[name].title in sentence for name in METHODS)})
    assert min(map(len, said)) > 3
    ties = r"(HiRA is equivalent to full fine-tuning|QLoRA is equivalent to head only) within [\d.]+ points\."
    assert [sentence for sentence in said[0] & said[1] if not re.fullmatch(ties, sentence)] == []  # they tie in both
