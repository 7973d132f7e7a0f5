"""Intervals, paired tests, equivalence and power, for methods that share their seeds and their test sentences.

Seeds and sentences are crossed: every seed of every method answers the same sentences. Both are samples, so both
are resampled. Arrays are (seeds, sentences) throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MARGIN = 0.015  # differences in accuracy below it do not matter in practice
SIGNIFICANCE = 0.05
REPLICATES = 2_000
DIFFERENCES = (0.01, 0.015, 0.02)  # true differences in accuracy whose power is reported
USUAL_POWER = 0.8


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its confidence interval."""

    estimate: float
    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends, the lower first."""
        return self.low, self.high

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside."""
        return not self.low <= value <= self.high

    def negated(self) -> Interval:
        """The interval of the opposite difference."""
        return Interval(-self.estimate, -self.high, -self.low)

    def within(self, margin: float) -> bool:
        """Whether the whole interval lies between −margin and +margin."""
        return -margin < self.low and self.high < margin


@dataclass(frozen=True)
class StandardError:
    """The standard error of a mean over seeds and sentences, in the mean's unit, with its degrees of freedom."""

    value: float
    degrees_of_freedom: float

    def half_width(self, confidence: float) -> float:
        """Distance from the mean to the ends of its t interval."""
        from scipy.stats import t

        return float(t.ppf((1 + confidence) / 2, self.degrees_of_freedom)) * self.value


def standard_error(values: np.ndarray) -> StandardError:
    """Standard error of the mean of `values` (seeds, sentences), both of which are samples.

    In a two-way layout with random effects, the mean's variance is that which the sentences' means show, and what
    the seeds' means show beyond the residual that both contain. Its degrees of freedom are Satterthwaite's: few
    where seeds decide, many where sentences do. With one seed, sentences are
    the only sample.
    """
    seeds, sentences = values.shape
    of_seeds, of_sentences = values.mean(axis=1, keepdims=True), values.mean(axis=0)
    by_sentences = of_sentences.var(ddof=1) / sentences
    if seeds == 1:
        return StandardError(float(np.sqrt(by_sentences)), sentences - 1)
    by_seeds = of_seeds.var(ddof=1) / seeds
    residual = values - of_seeds - of_sentences + values.mean()
    in_both = (residual**2).sum() / ((seeds - 1) * (sentences - 1)) / values.size
    variance = by_sentences + max(by_seeds - in_both, 0.0)
    if variance == 0:  # every seed answers every sentence alike
        return StandardError(0.0, np.inf)
    degrees = variance**2 / (by_seeds**2 / (seeds - 1) + by_sentences**2 / (sentences - 1))
    return StandardError(float(np.sqrt(variance)), float(degrees))


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Ends of Wilson's 95% score interval for `correct` of `n` (Wilson 1927): one model, sentences as the sample."""
    from statsmodels.stats.proportion import proportion_confint

    return proportion_confint(correct, n, method="wilson")


@dataclass(frozen=True)
class CrossedBootstrap:
    """Weights of seeds (replicates, seeds) and of sentences (replicates, sentences), drawn independently.

    One instance serves all methods of a comparison, which keeps every comparison paired (the pigeonhole
    bootstrap, owen2007pigeonhole).
    """

    seeds: np.ndarray
    sentences: np.ndarray

    @classmethod
    def draw(cls, seeds: int, sentences: int, replicates: int = REPLICATES, random_seed: int = 0) -> CrossedBootstrap:
        """Weights for `seeds` seeds and `sentences` sentences, each drawn with replacement."""
        random = np.random.default_rng(random_seed)
        return cls(_resampled(random, seeds, replicates), _resampled(random, sentences, replicates))

    def means(self, values: np.ndarray) -> np.ndarray:
        """Mean of `values` (…, seeds, sentences) in every replicate: (…, replicates)."""
        return (values.astype(np.float64) @ self.sentences.T * self.seeds.T).sum(axis=-2)

    def f1(self, predicted: np.ndarray, labels: np.ndarray, classes: Iterable[int] = (1,)) -> np.ndarray:
        """Mean over seeds of the mean F1 of `classes` in every replicate: (replicates,)."""
        of_classes = [
            _ratio(*(self.sentences @ part.T for part in _f1_parts(predicted, labels, of))) for of in classes
        ]  # each (replicates, seeds)
        return (np.mean(of_classes, axis=0) * self.seeds).sum(axis=1)

    def mean_interval(self, values: np.ndarray, confidence: float = 0.95) -> Interval:
        """Mean of `values` (seeds, sentences), an accuracy or a difference of two, with its interval."""
        return expanded_interval(float(np.mean(values)), self.means(values), standard_error(values), confidence)

    def f1_interval(
        self, predicted: np.ndarray, labels: np.ndarray, classes: Iterable[int] = (1,), confidence: float = 0.95
    ) -> Interval:
        """Mean over seeds of the mean F1 of `classes`: `predicted` (seeds, sentences) against `labels` (sentences,)."""
        of_classes = []
        for of in classes:
            hits, totals = _f1_parts(predicted, labels, of)
            per_seed = _ratio(hits.sum(axis=1), totals.sum(axis=1))[:, None]
            # A sentence's share in F1, to first order; the mean over sentences is F1 itself.
            of_classes.append(per_seed + _ratio(hits - per_seed * totals, totals.mean(axis=1, keepdims=True)))
        shares = np.mean(of_classes, axis=0)
        replicates = self.f1(predicted, labels, classes)
        return expanded_interval(float(shares.mean()), replicates, standard_error(shares), confidence)

    def ece_interval(self, gaps: np.ndarray, bins: np.ndarray, confidence: float = 0.95) -> Interval:
        """Calibration error of one run, from every sentence's `gaps` (confidence less right or wrong) and its bin.

        Resampling adds noise to noise, which enlarges the error; so the replicates' distance from the estimate is
        taken off the other way round (the reverse percentile interval, hesterberg2015bootstrap). The estimate itself
        leans upwards, most in small sets, and the interval may lie below it. In simulations of 250 to 2,000 sentences
        it held a true error of .03 or .08 in .87 to .95 of cases and one of 0 in .62 to .69; percentiles held an error
        of 0 never, and one of .03 at 250 sentences in .12.
        """
        of_bins = gaps[:, None] * (bins[:, None] == np.unique(bins))  # (sentences, bins)
        estimate = float(np.abs(of_bins.mean(axis=0)).sum())
        replicates = np.abs(self.sentences @ of_bins).sum(axis=1)
        quantiles = (1 + confidence) / 2, (1 - confidence) / 2
        low, high = np.clip(2 * estimate - np.quantile(replicates, quantiles), 0, 1)
        return Interval(estimate, float(low), float(high))


def _resampled(random: np.random.Generator, size: int, replicates: int) -> np.ndarray:
    drawn = random.integers(size, size=(replicates, size)) + np.arange(replicates)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=replicates * size).reshape(replicates, size) / size


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _f1_parts(predicted: np.ndarray, labels: np.ndarray, of: int) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of a class's F1 = 2·hits / (predicted + labelled), sentence by sentence."""
    return 2.0 * ((predicted == of) & (labels == of)), (predicted == of) * 1.0 + (labels == of)


# Seeds → share of 95% intervals for a paired difference that held the truth: the lowest and the highest over three
# kinds of experiment, in which the seeds do not matter, matter as in our runs, and decide. Simulated in
# tests/test_stats.py, seeds and sentences both drawn anew; the plain percentiles are what is improved upon.
COVERAGE = {5: (0.945, 0.965), 3: (0.936, 0.970)}
COVERAGE_OF_PERCENTILES = {5: (0.865, 0.985), 3: (0.798, 0.986)}


def expanded_interval(
    estimate: float, replicates: np.ndarray, error: StandardError, confidence: float = 0.95
) -> Interval:
    """`estimate` with the percentiles of its crossed bootstrap `replicates`, expanded to the width of a t interval.

    Percentiles are too narrow for a sample of a few seeds, which t quantiles repair (the expanded percentile
    interval, hesterberg2015bootstrap); where seeds hardly matter they are too wide, because the crossed bootstrap
    counts the residual more than once (owen2007pigeonhole). So the replicates decide the interval's shape and
    `error` its width. `COVERAGE` says what this achieves.
    """
    from scipy.stats import norm

    quantiles = (1 - confidence) / 2, (1 + confidence) / 2
    spread = norm.ppf(quantiles[1]) * replicates.std()
    expansion = error.half_width(confidence) / spread if spread else 0.0
    low, high = estimate + expansion * (np.quantile(replicates, quantiles) - estimate)
    return Interval(estimate, float(low), float(high))


def sign_flip(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p-value that the methods are exchangeable on every sentence, pooled over seeds: (seeds, sentences).

    A sentence's difference is the number of seeds that are right with `first` less that with `second`; under the null
    its sign is a fair coin. The p-value is exact: differences are whole numbers, so the distribution of their signed
    sum is a convolution of binomials, one for each size of difference. Seeds are taken as given here, not as a sample.
    """
    from scipy.signal import convolve
    from scipy.stats import binom

    difference = first.sum(axis=0, dtype=int) - second.sum(axis=0, dtype=int)
    sizes, counts = np.unique(np.abs(difference[difference != 0]), return_counts=True)
    distribution = np.ones(1)  # of the sum of those differences whose sign comes out positive
    for size, count in zip(sizes, counts, strict=True):
        part = np.zeros(size * count + 1)
        part[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        distribution = convolve(distribution, part, method="direct")
    signed_sums = 2 * np.arange(len(distribution)) - (sizes @ counts if len(sizes) else 0)
    return float(min(1.0, distribution[np.abs(signed_sums) >= abs(difference.sum())].sum()))


def holm(p_values: list[float]) -> list[float]:
    """p-values adjusted for their number by Holm's step-down method (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(p_values, method="holm")[1].tolist() if p_values else []


@dataclass(frozen=True)
class Power:
    """What a design would show, as probabilities over repetitions with other seeds and other sentences.

    `of_difference` maps a true difference in accuracy to the probability that its 95% interval excludes zero, which
    is before Holm's correction; `of_equivalence` is the probability that two methods without any difference are
    shown to be equivalent; `smallest` is the true difference that is seen with probability .8.
    """

    of_difference: dict[float, float]
    of_equivalence: float
    smallest: float

    def sees(self, difference: float) -> bool:
        """Whether a true difference of one of `DIFFERENCES` would be seen with probability .8."""
        return self.of_difference[difference] >= USUAL_POWER


def power_of_design(error: StandardError) -> Power:
    """Power of a comparison with this standard error: of seeing `DIFFERENCES`, and of equivalence within ±`MARGIN`.

    Observed differences are taken as normal around the true one, with the standard error as observed; a repetition
    would have to estimate it anew, so the result is an average over the χ² distribution of that estimate. It does not
    depend on the observed difference, with which it would only repeat the p-value. Why power is
    reported at all: card2020power.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, norm

    if error.value == 0:
        return Power(dict.fromkeys(DIFFERENCES, 1.0), 1.0, 0.0)
    probabilities = (np.arange(2_000) + 0.5) / 2_000
    estimated = np.sqrt(chi2.ppf(probabilities, error.degrees_of_freedom) / error.degrees_of_freedom)
    half_width = error.half_width(1 - SIGNIFICANCE) * estimated
    room = MARGIN - error.half_width(1 - 2 * SIGNIFICANCE) * estimated

    def power(difference: float) -> float:
        ends = (np.array([[difference], [-difference]]) - half_width) / error.value
        return float(norm.cdf(ends).sum(axis=0).mean())

    return Power(
        of_difference={difference: power(difference) for difference in DIFFERENCES},
        of_equivalence=float((1 - 2 * norm.sf(room.clip(min=0) / error.value)).mean()),
        smallest=brentq(lambda difference: power(difference) - USUAL_POWER, 0, 1_000 * error.value),
    )


@dataclass(frozen=True)
class PairedComparison:
    """Two methods on the same seeds and sentences; the difference is first less second, in accuracy.

    `difference` has a 95% interval, `tost` the 90% one that two one-sided tests at 5% use, both by the crossed
    bootstrap and as wide as `standard_error` says. `p_holm` is the sign-flip test's p-value, adjusted over all pairs of
    the comparison.
    """

    first: str
    second: str
    difference: Interval
    tost: Interval
    standard_error: StandardError
    p_holm: float

    @property
    def differs(self) -> bool:
        """Whether a difference is shown: significant after Holm on these sentences, and over seeds as well."""
        return self.p_holm < SIGNIFICANCE and self.difference.excludes(0)

    @property
    def above(self) -> bool:
        """Whether the first method is shown to be more accurate than the second."""
        return self.differs and self.difference.estimate > 0

    @property
    def equivalent(self) -> bool:
        """Whether any difference is shown to be smaller than the margin."""
        return self.tost.within(MARGIN)

    @cached_property
    def power(self) -> Power:
        """What a comparison of these two methods by this design would show."""
        return power_of_design(self.standard_error)

    def swapped(self) -> PairedComparison:
        """The same comparison, second less first."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            difference=self.difference.negated(),
            tost=self.tost.negated(),
        )


def compare_pairs(correct: Mapping[str, pd.DataFrame]) -> list[PairedComparison]:
    """Compare every two methods of `correct`: method → frame of booleans, a row a seed, a column a sentence.

    A pair is compared on the seeds that both methods have; a pair without any is left out.
    """
    pairs = {}
    for first, second in combinations(correct, 2):
        one, other = correct[first].align(correct[second], join="inner")
        if len(one):
            pairs[first, second] = one.to_numpy(bool), other.to_numpy(bool)
    adjusted = holm([sign_flip(*answers) for answers in pairs.values()])
    draw = cache(CrossedBootstrap.draw)  # the same seeds and sentences again for every pair
    comparisons = []
    for ((first, second), (one, other)), p_holm in zip(pairs.items(), adjusted, strict=True):
        difference = one.astype(float) - other
        bootstrap = draw(*difference.shape)
        comparisons.append(
            PairedComparison(
                first=first,
                second=second,
                difference=bootstrap.mean_interval(difference),
                tost=bootstrap.mean_interval(difference, confidence=1 - 2 * SIGNIFICANCE),
                standard_error=standard_error(difference),
                p_holm=p_holm,
            )
        )
    return comparisons
