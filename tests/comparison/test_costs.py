"""A Pareto front is a share of draws, and what is one network is measured once."""

import numpy as np
import pandas as pd
import pytest
from made_up import finished
from small import ADAPTER, FULL

from course_utils.comparison.costs import MERGED, cost_draws, front_shares, median_interval, medians, not_shown_above


def test_all_methods_are_drawn_alike_where_one_lacks_a_seed(runs_in):
    results = finished({FULL: 0.75, ADAPTER: 0.75}, seeds=4, apart=0.1, lost={(FULL, 1)})
    draws = cost_draws(results, pd.DataFrame({MERGED: [1.0, 1.1, 1.2]}))
    for name in ("accuracy", "step_ms_median", "unmerged"):  # which both methods have the same of, seed by seed
        np.testing.assert_array_equal(draws[name][FULL], draws[name][ADAPTER])


def test_where_no_seed_is_shared_nothing_is_drawn(runs_in):
    results = finished({FULL: 0.8, ADAPTER: 0.8}, seeds=2, lost={(FULL, 0), (ADAPTER, 1)})
    assert not cost_draws(results, pd.DataFrame({MERGED: [1.0, 1.1, 1.2]}))


def test_a_front_that_rests_on_noise_is_shared():
    random = np.random.default_rng(0)
    noise = random.normal(size=(2, 4_000))
    accuracy = pd.DataFrame({"cheap": 0.70, "twin": 0.85 + 1e-3 * noise[0], "other": 0.85, "dear": 0.80}, range(4_000))
    costs = pd.DataFrame({"cheap": 1.0, "twin": 2.0, "other": 2.0, "dear": 3.0}, range(4_000))
    shares = front_shares({"accuracy": accuracy, "size": costs})["size"]
    assert shares["cheap"] == 1 and shares["dear"] == 0
    assert shares["twin"] == pytest.approx(0.5, abs=0.03) and shares["twin"] + shares["other"] == 1


def test_a_lowest_cost_is_shown_by_more_seeds_although_some_seed_is_turned_and_is_named_seldom_by_chance():
    random = np.random.default_rng(0)
    cheap = random.normal(9.0, 1.0, 20)
    costs = pd.DataFrame({"cheap": cheap, "dear": cheap + np.r_[-0.1, np.full(19, 1.0)], "other": 2 * cheap})
    assert not_shown_above(costs[:3], "cheap") == ["dear"] and not_shown_above(costs, "cheap") == []
    assert not_shown_above(costs[3:5], "cheap") == ["dear", "other"]  # two seeds show nothing
    alike = [pd.DataFrame(random.normal(size=(3, 4))) for _ in range(400)]
    named = [not not_shown_above(frame, frame.median().idxmin()) for frame in alike]
    assert np.mean(named) <= 0.05
    tied = pd.DataFrame({"one": [70.0, 70.0, 70.0], "other": [70.1, 70.1, 70.1]})
    assert not_shown_above(tied, "one") == [] and not_shown_above(tied, "one", step=0.1) == ["other"]
    # what is dearer than a method that is shown to be dear is not taken for the noise of its own seeds
    noisy = pd.DataFrame({"one": [1.0, 1.0, 1.0], "close": [2.0, 2.1, 2.0], "far": [3.0, 30.0, 9.0]})
    assert not_shown_above(noisy[["one", "far"]], "one") == ["far"] and not_shown_above(noisy, "one") == []


def test_medians_of_draws_are_those_of_the_drawn_values():
    random = np.random.default_rng(0)
    values, drawn = random.normal(size=9), random.integers(9, size=(50, 9))
    weights = np.array([np.bincount(row, minlength=9) / 9 for row in drawn])
    np.testing.assert_allclose(medians(values, weights), np.median(values[drawn], axis=1))


def test_the_interval_of_a_time_holds_its_median_and_ignores_one_disturbed_turn():
    found = median_interval(pd.Series([2.0, 2.1, 2.0, 2.2, 9.0, 2.1, 2.0, 2.1, 2.2]))
    assert found.low <= found.estimate == 2.1 <= found.high < 3
