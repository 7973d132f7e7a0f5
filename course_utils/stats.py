"""Intervals, paired tests and equivalence, for methods that share their seeds and their test sentences.

Seeds and sentences are crossed: every seed of every method answers the same sentences. Both are samples, so both
are resampled. Arrays are (seeds, sentences) throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MARGIN = 0.015  # differences in accuracy below it do not matter in practice
SIGNIFICANCE = 0.05
REPLICATES = 2_000


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its confidence interval."""

    estimate: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside."""
        return not self.low <= value <= self.high

    def negated(self) -> Interval:
        """The interval of the opposite difference."""
        return Interval(-self.estimate, -self.high, -self.low)

    def within(self, margin: float) -> bool:
        """Whether the whole interval lies between −margin and +margin."""
        return -margin < self.low and self.high < margin


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Ends of Wilson's score interval for `correct` of `n` (Wilson 1927): one model, sentences as the sample."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class CrossedBootstrap:
    """Weights of seeds (replicates, seeds) and of sentences (replicates, sentences), drawn independently.

    One instance serves all methods of a comparison, which keeps every comparison paired (Owen 2007, the
    pigeonhole bootstrap).
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

    def mean_interval(self, values: np.ndarray, confidence: float = 0.95) -> Interval:
        """Mean of `values` (seeds, sentences), an accuracy or a difference of two, with its percentile interval."""
        return percentile_interval(float(np.mean(values)), self.means(values), confidence)

    def f1_interval(self, predicted: np.ndarray, labels: np.ndarray, confidence: float = 0.95) -> Interval:
        """Mean over seeds of F1 (positive class) of `predicted` (seeds, sentences) against `labels` (sentences,)."""
        hits = (predicted == 1) & (labels == 1)
        weighed = hits * 2.0, (predicted == 1) * 1.0 + (labels == 1)  # F1 = 2·hits / (predicted + labelled)
        estimate = _ratio(*(part.sum(axis=1) for part in weighed)).mean()
        per_seed = _ratio(*(self.sentences @ part.T for part in weighed))  # (replicates, seeds)
        return percentile_interval(float(estimate), (per_seed * self.seeds).sum(axis=1), confidence)


def _resampled(random: np.random.Generator, size: int, replicates: int) -> np.ndarray:
    drawn = random.integers(size, size=(replicates, size)) + np.arange(replicates)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=replicates * size).reshape(replicates, size) / size


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def percentile_interval(estimate: float, replicates: np.ndarray, confidence: float = 0.95) -> Interval:
    """`estimate` with the percentiles of its bootstrap `replicates`."""
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high))


def mcnemar_exact(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p-value of McNemar's exact test for one seed: `first` and `second` say which sentences were right."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


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
class PairedComparison:
    """Two methods on the same seeds and sentences; the difference is first less second, in accuracy.

    `difference` has a 95% interval, `tost` the 90% one that two one-sided tests at 5% use, both by the
    crossed bootstrap. `p_value` is the sign-flip test's, `p_holm` adjusted over all pairs of the comparison.
    """

    first: str
    second: str
    seeds: int
    difference: Interval
    tost: Interval
    mcnemar: list[float]
    p_value: float
    p_holm: float
    margin: float

    @property
    def differs(self) -> bool:
        """Whether a difference is shown: significant after Holm on these sentences, and over seeds as well."""
        return self.p_holm < SIGNIFICANCE and self.difference.excludes(0)

    @property
    def equivalent(self) -> bool:
        """Whether any difference is shown to be smaller than the margin."""
        return self.tost.within(self.margin)

    def swapped(self) -> PairedComparison:
        """The same comparison, second less first."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            difference=self.difference.negated(),
            tost=self.tost.negated(),
        )


def compare_pairs(
    correct: dict[str, pd.DataFrame], margin: float = MARGIN, replicates: int = REPLICATES
) -> list[PairedComparison]:
    """Compare every two methods of `correct`: method → frame of booleans, a row a seed, a column a sentence.

    A pair is compared on the seeds that both methods have; a pair without any is left out.
    """
    pairs = []
    for (first, one), (second, other) in combinations(correct.items(), 2):
        seeds = one.index.intersection(other.index)
        if len(seeds):
            pairs.append((first, second, one.loc[seeds].to_numpy(bool), other.loc[seeds, one.columns].to_numpy(bool)))
    bootstraps = {
        shape: CrossedBootstrap.draw(*shape, replicates) for shape in {one.shape for _, _, one, _ in pairs}
    }
    p_values = [sign_flip(one, other) for _, _, one, other in pairs]
    comparisons = []
    for (first, second, one, other), p_value, p_holm in zip(pairs, p_values, holm(p_values), strict=True):
        difference = one.astype(float) - other
        estimate, means = float(difference.mean()), bootstraps[one.shape].means(difference)
        comparisons.append(
            PairedComparison(
                first=first,
                second=second,
                seeds=len(one),
                difference=percentile_interval(estimate, means),
                tost=percentile_interval(estimate, means, confidence=1 - 2 * SIGNIFICANCE),
                mcnemar=[mcnemar_exact(a, b) for a, b in zip(one, other, strict=True)],
                p_value=p_value,
                p_holm=p_holm,
                margin=margin,
            )
        )
    return comparisons
