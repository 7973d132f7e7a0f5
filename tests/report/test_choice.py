"""Which method when: among methods that are not shown to be worse, the cheapest; no answer where there is none."""

from made_up import finished, write_run
from small import ADAPTER, FULL, GATED, HEAD, MULTIPLIED, QUANTISED

from course_utils.comparison import tables
from course_utils.comparison.conclusions import experiment_verdicts, judge_experiment
from course_utils.comparison.results import read_runs
from course_utils.config import load_experiment
from course_utils.report import choice

ACCURACY = {HEAD: 0.6, FULL: 0.9, ADAPTER: 0.9, GATED: 0.7, QUANTISED: 0.9}


def test_the_cheapest_of_those_that_are_not_shown_to_be_worse_is_chosen(runs_in, shown):
    results = finished(ACCURACY)
    for run in results.of(QUANTISED):
        object.__setattr__(run.result.bytes, "base_model", 9_000)
    for run in results.of(FULL):
        object.__setattr__(run.result.timing, "train_seconds", 1.0)
        object.__setattr__(run.result.memory, "peak_bytes", 2 * run.result.memory.peak_bytes)
    for seed, more in enumerate((1, 2, -2)):
        memory = results.of(ADAPTER)[seed].result.memory
        object.__setattr__(memory, "peak_bytes", memory.peak_bytes + 1_000_000 * more)
    found = choice.unbeaten(results, judge_experiment(results))
    assert set(found.names) == {FULL, ADAPTER, QUANTISED}  # not the gated one, which is shown to be worse
    choice.which_when(results)
    text, table, _, limits = shown
    taken = table.set_index("What counts")["Take"]
    assert taken["Memory of the base model"] == "QLoRA" and taken["Time to train"] == "Full fine-tuning"
    assert taken["Memory in training"] == "QLoRA or LoRA"  # which differ by less than LoRA's seeds
    assert "cannot choose between these methods" in text and "1,000 of them in training" in limits


def test_memory_that_a_missing_dropout_saves_chooses_no_method(runs_in, shown):
    results = finished({FULL: 0.9, ADAPTER: 0.9, MULTIPLIED: 0.9})
    for run in results.runs:  # the methods that have a dropout keep its masks
        if run.config.method != MULTIPLIED:
            object.__setattr__(run.result.memory, "peak_bytes", 2 * run.result.memory.peak_bytes)
    choice.which_when(results)
    row = shown[1].set_index("What counts").loc["Memory in training"]
    assert row["Take"] == "no choice" and "HiRA has no dropout" in row["Because"]


def test_where_every_other_method_is_worse_the_cheapest_is_named_with_what_it_loses(runs_in, shown):
    results = finished({FULL: 0.9, ADAPTER: 0.7, GATED: 0.6})
    for run in results.of(ADAPTER):
        object.__setattr__(run.result.bytes, "adapter", 9)
    choice.which_when(results)
    row = shown[1].set_index("What counts").loc["Bytes to store for each task, the head left out"]
    assert "is the method to take" in shown[0]
    assert row["Take"] == "LoRA" and "less accurate: LoRA (−20.0 points)" in row["Because"]


def test_a_method_with_too_few_seeds_is_named_and_none_is_recommended_before_it_is_finished(runs_in, shown):
    choice.which_when(finished({FULL: 0.6, ADAPTER: 0.8, MULTIPLIED: 0.95}, lost={(MULTIPLIED, 2)}))
    assert "too few seeds, it is not compared with HiRA" in shown[0] and "the method to take" not in shown[0]


def test_with_too_few_seeds_nothing_is_recommended(runs_in, shown):
    choice.which_when(finished(ACCURACY, seeds=1))
    (said,) = shown
    assert said.endswith("so nothing can be recommended.")


def test_where_no_method_is_shown_to_have_learned_anything_none_is_recommended(runs_in, shown):
    choice.which_when(finished(dict.fromkeys(ACCURACY, 0.55)))
    (said,) = shown
    assert "of the majority class, 50.0%" in said and said.endswith("none can be recommended.")


def test_times_of_runs_that_overlap_choose_no_method(runs_in, shown):
    results = finished(ACCURACY)
    for name in (FULL, ADAPTER, QUANTISED):
        for run, seconds in zip(results.of(name), (8.0, 9.0, 30.0 if name == ADAPTER else 10.0), strict=True):
            object.__setattr__(run.result.timing, "train_seconds", seconds)
    choice.which_when(results)
    assert shown[1].set_index("What counts")["Take"]["Time to train"] == "no choice"
    for run, seconds in zip(results.of(ADAPTER), (8.1, 9.2, 10.3), strict=True):
        object.__setattr__(run.result.timing, "train_seconds", seconds)
    for run, seconds in zip(results.of(FULL), (7.0, 8.1, 9.0), strict=True):  # less with each seed, though they overlap
        object.__setattr__(run.result.timing, "train_seconds", seconds)
    tables.summary_table.cache_clear()
    tables.comparison_frame.cache_clear()
    choice.which_when(results)
    assert shown[-3].set_index("What counts")["Take"]["Time to train"] == "Full fine-tuning"
    for run in results.of(ADAPTER):
        object.__setattr__(run.result.environment, "load", (3.0, 5.0))
    for run in (*results.of(FULL), *results.of(QUANTISED)):
        object.__setattr__(run.result.environment, "load", (1.0, 2.0))
    choice.which_when(results)
    row = shown[-3].set_index("What counts").loc["Time to train"]
    assert row["Take"] == "no choice" and "1.5 (full fine-tuning) to 4.0 (LoRA)" in row["Because"]
    object.__setattr__(results.of(FULL)[0].result.environment, "processor", "another")
    choice.which_when(results)
    row = shown[-3].set_index("What counts").loc["Time to train"]
    assert row["Take"] == "no choice" and "a processor and another made" in row["Because"]


def test_a_mean_of_more_seeds_wins_no_comparison_that_it_lost(runs_in, shown):
    """LoRA has the higher mean by two seeds that HiRA lacks, and is shown to be worse on those that both have."""
    experiment = load_experiment("smoke", {"seeds": 5, "precision": "fp32", "methods": [ADAPTER, MULTIPLIED]})
    for config in experiment.configs():
        if config.method == ADAPTER or config.seed < 3:
            write_run(config, 0.75 if config.method == MULTIPLIED else 0.70 if config.seed < 3 else 0.95)
    results = read_runs(experiment)
    (pair,) = judge_experiment(results).pairs
    assert (pair.first, pair.differs, pair.above) == (ADAPTER, True, False)
    choice.which_when(results)
    assert "HiRA is not shown to be less accurate" in shown[0] and "the method to take" not in shown[0]
    assert not any("every difference from another" in sentence for sentence in experiment_verdicts(results))
