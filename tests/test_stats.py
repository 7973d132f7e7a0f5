"""Every statistic against a worked example or an independent implementation."""

import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from course_utils.stats import (
    CrossedBootstrap,
    compare_pairs,
    holm,
    mcnemar_exact,
    sign_flip,
    wilson_interval,
)


@pytest.fixture
def random():
    return np.random.default_rng(7)


def answers(random, accuracy, seeds=5, sentences=400, shared=0.8):
    """Correct answers (seeds, sentences) of a method, most sentences being hard or easy for every seed."""
    difficulty = random.random(sentences)
    own = random.random((seeds, sentences))
    return np.where(random.random((seeds, sentences)) < shared, difficulty, own) < accuracy


def test_wilson_interval_of_the_published_card():
    assert wilson_interval(804, 872) == pytest.approx((0.902, 0.938), abs=5e-4)
    assert wilson_interval(0, 20) == pytest.approx(proportion_confint(0, 20, method="wilson"), abs=1e-12)


def test_bootstrap_is_the_plain_one_drawn_sentence_by_sentence(random):
    values = answers(random, 0.8, seeds=4, sentences=60)
    bootstrap = CrossedBootstrap.draw(4, 60, replicates=3_000)
    assert bootstrap.seeds.sum(axis=1) == pytest.approx(1)
    assert bootstrap.sentences.sum(axis=1) == pytest.approx(1)
    plain = [
        values[random.integers(4, size=4)][:, random.integers(60, size=60)].mean() for _ in range(3_000)
    ]
    interval = bootstrap.mean_interval(values)
    assert interval.estimate == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.01)


def test_seeds_that_disagree_widen_the_interval(random):
    alike = np.repeat(random.random((1, 500)) < 0.8, 5, axis=0)
    apart = random.random((5, 500)) < np.array([0.7, 0.75, 0.8, 0.85, 0.9])[:, None]
    bootstrap = CrossedBootstrap.draw(5, 500)
    widths = [i.high - i.low for i in map(bootstrap.mean_interval, (alike, apart))]
    low, high = wilson_interval(int(alike[0].sum()), 500)
    assert widths[0] == pytest.approx(high - low, rel=0.08)  # equal seeds add nothing
    assert widths[1] > 1.5 * widths[0]


def test_f1_interval_is_that_of_scikit_learn_on_every_resample(random):
    labels = random.integers(2, size=80)
    predicted = np.where(random.random((3, 80)) < 0.75, labels, 1 - labels)
    bootstrap = CrossedBootstrap.draw(3, 80, replicates=50)
    by_hand = [
        np.average([f1_score(labels, row, sample_weight=w) for row in predicted], weights=s)
        for s, w in zip(bootstrap.seeds, bootstrap.sentences, strict=True)
    ]
    interval = bootstrap.f1_interval(predicted, labels)
    assert interval.estimate == pytest.approx(np.mean([f1_score(labels, row) for row in predicted]))
    assert (interval.low, interval.high) == pytest.approx(np.quantile(by_hand, [0.025, 0.975]))


def test_mcnemar_against_statsmodels(random):
    first, second = random.random((2, 300)) < [[0.85], [0.78]]
    table = pd.crosstab(first, second)
    assert mcnemar_exact(first, second) == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert mcnemar_exact(first, first) == 1


def test_sign_flip_against_scipys_enumeration(random):
    first, second = random.random((2, 3, 12)) < [[[0.8]], [[0.4]]]
    result = permutation_test(
        (first.sum(axis=0), second.sum(axis=0)),
        lambda a, b, axis: (a - b).sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert sign_flip(first, second) == pytest.approx(result.pvalue)
    assert sign_flip(first, first) == 1


def test_sign_flip_of_one_seed_is_mcnemar(random):
    first, second = random.random((2, 1, 500)) < [[[0.85]], [[0.80]]]
    assert sign_flip(first, second) == pytest.approx(mcnemar_exact(first[0], second[0]))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_pairs_are_compared_on_the_seeds_that_both_have(random):
    columns = [f"sentence-{i}" for i in range(400)]
    one, other = (pd.DataFrame(answers(random, a), columns=columns) for a in (0.85, 0.7))
    late = other.loc[[2, 3, 4], columns[::-1]]  # seeds 0 and 1 failed; sentences in another order
    (pair,) = compare_pairs({"one": one, "late": late})
    expected = one.loc[2:].to_numpy().mean() - other.loc[2:].to_numpy().mean()
    assert pair.seeds == len(pair.mcnemar) == 3
    assert pair.difference.estimate == pytest.approx(expected)
    assert pair.difference.low < pair.tost.low < pair.tost.high < pair.difference.high
    assert compare_pairs({"one": one.loc[:1], "late": late}) == []


def test_same_data_same_numbers_in_no_time(random):
    correct = {f"method {i}": pd.DataFrame(answers(random, 0.8 + i / 50, 5, 2_000)) for i in range(6)}
    start = time.perf_counter()
    pairs = compare_pairs(correct)
    assert time.perf_counter() - start < 10  # under one second on a machine with nothing else to do
    assert len(pairs) == 15 and pairs == compare_pairs(correct)
