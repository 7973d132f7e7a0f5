"""The table of other choices says of every pair what the rule shows there, and its sentences count what stands."""

import numpy as np
import pandas as pd
import pytest
from made_up import finished
from small import ADAPTER, FULL, GATED, HEAD, MULTIPLIED

from course_utils.code_identity import FROM_RECORDS
from course_utils.comparison.baselines import title_of
from course_utils.comparison.conclusions import judge_experiment
from course_utils.comparison.results import read_runs
from course_utils.comparison.robustness import OneLess
from course_utils.config import load_experiment
from course_utils.paths import PROJECT
from course_utils.report.other_choices import FRAGILE, Choice, Verdicts, do_verdicts_hold, judged_otherwise, say
from course_utils.stats import compare_pairs


def judgement(first, second, third):
    """The pairs of three methods that are right on these shares of the texts."""
    shares = {FULL: first, ADAPTER: second, GATED: third}
    answers = {name: pd.DataFrame([np.arange(1_000) < 1_000 * share] * 3) for name, share in shares.items()}
    return compare_pairs(answers, margin=0.02)


def test_a_cell_says_how_often_which_sign_and_what_holds_everywhere_is_counted():
    usual, turned, near = judgement(0.9, 0.8, 0.7), judgement(0.8, 0.9, 0.7), judgement(0.8, 0.8, 0.7)
    pairs = usual
    choices = [Choice("", "main", [usual]), Choice("fewer texts", "cuts", [turned, usual, near], whole=False)]
    found = Verdicts(pairs, choices)
    assert [choices[0].cell(pair) for pair in pairs] == [">", ">", ">"]
    assert [choices[1].cell(pair) for pair in pairs] == ["> 1, < 1, ≈ 1", "> 3", "> 3"]
    assert found.kept == pairs[1:] and found.turned == pairs[:1] and found.found == []
    said = " ".join(say.verdicts_text(found).split())
    assert (
        "For 2 of 3 pairs, all judgements" in said
        and "2 are shown by every judgement (Full fine-tuning − Sparse LoRA; LoRA − Sparse LoRA), and 3 by every"
        in said
    )
    assert "both signs of Full fine-tuning − LoRA." in said
    one = Verdicts(pairs[:1], choices)
    assert "shows is not shown by every judgement, but by every one that has all" in say.verdicts_text(one)
    tie = Verdicts(near, [Choice("", "main", [near]), Choice("fewer texts", "cuts", [usual], whole=False)])
    assert [choice.cell(near[0].swapped()) for choice in tie.choices] == ["≈", "<"]
    assert tie.found == near[:1] and "For 2 of 3 pairs" in say.verdicts_text(tie)
    without = OneLess(MULTIPLIED, 0.02, usual, [], [])
    assert Choice("", "main", [near], [without]).cell(near[0]) == f"≈{FRAGILE}"
    assert "1 further pair is shown to differ at least once (Full fine-tuning − LoRA)." in say.in_abstract(tie)


def test_every_pair_is_judged_anew_for_every_choice(runs_in, shown):
    results = finished({HEAD: 0.6, FULL: 0.9, ADAPTER: 0.8, MULTIPLIED: 0.8}, seeds=4, apart=0.005)
    found = judged_otherwise(results)
    assert found.pairs == [pair for pair in judge_experiment(results).pairs if HEAD not in (pair.first, pair.second)]
    repeated = {choice.kind: {len(choice.of(pair)) for pair in found.pairs} for choice in found.choices[:4]}
    assert repeated == {"": {1}, "fewer seeds": {4}, "fewer texts": {10}, "one method less": {2}}
    do_verdicts_hold(results)
    table, _, said = shown
    assert table.iloc[0].to_list()[:4] == [">", "> 4", "> 10", "> 2"]
    assert "shown by every judgement" in said


def test_without_enough_seeds_there_is_no_verdict_to_hold(runs_in, shown):
    do_verdicts_hold(finished({FULL: 0.9, ADAPTER: 0.8}, seeds=1))
    assert len(shown) == 1 and "can be judged" in shown[0]


@pytest.mark.slow
def test_the_readme_has_the_table_of_the_published_report(monkeypatch):
    monkeypatch.setenv(FROM_RECORDS, "1")
    monkeypatch.delenv("COURSE_REPORTS", raising=False)
    found = judged_otherwise(read_runs(load_experiment("full")))
    page = (PROJECT / "README.md").read_text("utf-8")
    cells = [[choice.heading for choice in found.choices]]
    cells += [[choice.cell(pair) for choice in found.choices] for pair in found.pairs]
    titles = ["", *(f"{title_of(pair.first)} − {title_of(pair.second)}" for pair in found.pairs)]
    for title, row in zip(titles, cells, strict=True):
        assert " ".join(f"| {title} | {' | '.join(row)} |".split()) in page
