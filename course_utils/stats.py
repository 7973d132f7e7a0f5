"""Intervals, paired tests, equivalence and power, for methods that share their seeds and their test sentences.

Seeds and sentences are crossed: every seed of every method answers the same sentences. Both are samples, so both
are resampled. Arrays are (seeds, sentences) throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANCE = 0.05  # of the whole family of pairs
MINIMUM_SEEDS = 3  # with fewer, a difference between methods cannot be told from one between seeds
CONFIDENCE = 0.95  # of an interval that stands alone
TAILS = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2  # the quantiles at its ends
REPLICATES = 2_000
REPETITIONS = 10_000  # of an experiment without differences
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
        """Whether `value` lies outside the interval."""
        return not self.low <= value <= self.high

    def negated(self) -> Interval:
        """The interval of the opposite difference."""
        return Interval(-self.estimate, -self.high, -self.low)


@dataclass(frozen=True)
class StandardError:
    """The standard error of a mean over seeds and sentences, in the mean's unit, with its degrees of freedom."""

    value: float
    degrees_of_freedom: float

    def half_width(self, confidence: float) -> float:
        """Distance from the mean to the ends of its t interval."""
        from scipy.stats import t

        return float(t.ppf((1 + confidence) / 2, self.degrees_of_freedom)) * self.value

    def beyond(self, distance: float) -> float:
        """Probability that an observed mean lies more than `distance` above the true one."""
        from scipy.stats import t

        if self.value == 0:
            return float(distance <= 0)
        return float(t.sf(distance / self.value, self.degrees_of_freedom))


class SeedVariance(NamedTuple):
    """Variance between seeds of a difference of accuracies, shared by all pairs, with its degrees of freedom.

    Both are arrays where they are those of many experiments.
    """

    value: Any
    degrees_of_freedom: Any


def standard_error(values: np.ndarray, shared: SeedVariance | None = None) -> StandardError:
    """Standard error of the mean of `values` (seeds, sentences), both of which are samples.

    In a two-way layout with random effects, the variance of the mean has two parts: the variance that the sentences'
    means show, and what the seeds' means show beyond the residual that both contain. The degrees of freedom follow
    Satterthwaite, less the residual's term: few where seeds decide, many where sentences decide. With one seed,
    sentences are the only sample. A `shared` variance between seeds gives its degrees of freedom, and its value where
    that is larger than the variance of the values themselves.
    """
    seeds, sentences = values.shape
    of_seeds, of_sentences = values.mean(axis=1, keepdims=True), values.mean(axis=0)
    by_sentences = of_sentences.var(ddof=1) / sentences
    if seeds == 1:
        return StandardError(float(np.sqrt(by_sentences)), sentences - 1)
    residual = values - of_seeds - of_sentences + values.mean()
    in_both = (residual**2).sum() / ((seeds - 1) * (sentences - 1)) / values.size
    shared = shared or SeedVariance(0.0, seeds - 1)
    value, degrees = _satterthwaite(by_sentences, of_seeds.var(ddof=1), shared, in_both, seeds, sentences)
    return StandardError(np.ravel(value).item(), np.ravel(degrees).item())


def error_over_seeds(values: np.ndarray, step: float = 0.0) -> StandardError:
    """The standard error of a mean over seeds alone, as of a t test: `values` (seeds,).

    `step` is the least difference that two values can have. The spread is not taken as smaller, since seeds can tie.
    """
    seeds = len(values)
    return StandardError(float(max(np.std(values, ddof=1), step)) / np.sqrt(seeds), seeds - 1)


def _satterthwaite(by_sentences, of_seeds, shared: SeedVariance, in_both, seeds: int, sentences: int):
    """Standard errors and their degrees of freedom, of one mean or of an array of them.

    `of_seeds` is the variance between the means of seeds, `by_sentences` and `in_both` are shares of the variance of
    the whole mean.
    """
    by_seeds = np.maximum(of_seeds, shared.value) / seeds
    variance = by_sentences + np.maximum(by_seeds - in_both, 0)
    spent = by_seeds**2 / shared.degrees_of_freedom + by_sentences**2 / (sentences - 1)
    # without any variance, every seed answers every sentence alike
    degrees = np.divide(variance**2, spent, out=np.full_like(variance, np.inf), where=spent > 0)
    # the subtraction can leave fewer than one degree of freedom, and so intervals of any width
    return np.sqrt(variance), np.maximum(degrees, np.minimum(shared.degrees_of_freedom, sentences - 1))


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
    @cache
    def draw(cls, seeds: int, sentences: int, replicates: int = REPLICATES, random_seed: int = 0) -> CrossedBootstrap:
        """Weights for `seeds` seeds and `sentences` sentences, each drawn with replacement."""
        random = np.random.default_rng(random_seed)
        return cls(_resampled(random, seeds, replicates), _resampled(random, sentences, replicates))

    def sums(self, parts: np.ndarray) -> np.ndarray:
        """Weighted sum of `parts` (…, sentences) in every replicate: (…, replicates)."""
        return parts.astype(np.float64) @ self.sentences.T  # the other way round takes twice as long

    def means(self, values: np.ndarray) -> np.ndarray:
        """Mean of `values` (…, seeds, sentences) in every replicate: (…, replicates)."""
        return (self.sums(values) * self.seeds.T).sum(axis=-2)

    def f1(self, predicted: np.ndarray, labels: np.ndarray, classes: Iterable[int] = (1,)) -> np.ndarray:
        """Mean over seeds of the mean F1 of `classes` in every replicate: (replicates,)."""
        parts = [part for of in classes for part in _f1_parts(predicted, labels, of)]  # each (seeds, sentences)
        sums = np.split(self.sums(np.concatenate(parts)), len(parts))  # each (seeds, replicates)
        of_classes = [_ratio(hits, totals) for hits, totals in zip(sums[::2], sums[1::2], strict=True)]
        return (np.mean(of_classes, axis=0) * self.seeds.T).sum(axis=0)

    def mean_interval(self, values: np.ndarray) -> Interval:
        """Mean of `values` (seeds, sentences), an accuracy or a difference of two, with its interval."""
        return expanded_interval(float(np.mean(values)), self.means(values), standard_error(values))

    def f1_interval(self, predicted: np.ndarray, labels: np.ndarray, classes: Iterable[int] = (1,)) -> Interval:
        """Mean over seeds of the mean F1 of `classes`: `predicted` (seeds, sentences) against `labels` (sentences,)."""
        of_classes = []
        for of in classes:
            hits, totals = _f1_parts(predicted, labels, of)
            per_seed = _ratio(hits.sum(axis=1), totals.sum(axis=1))[:, None]
            # A sentence's share in F1, to first order; the mean over sentences is F1 itself.
            of_classes.append(per_seed + _ratio(hits - per_seed * totals, totals.mean(axis=1, keepdims=True)))
        shares = np.mean(of_classes, axis=0)
        replicates = self.f1(predicted, labels, classes)
        return expanded_interval(float(shares.mean()), replicates, standard_error(shares))

    def ece_interval(self, gaps: np.ndarray, bins: np.ndarray) -> Interval:
        """Calibration error of one run, from every sentence's `gaps` (confidence less right or wrong) and its bin.

        Resampling adds noise, which enlarges the error; so the replicates' distances from the estimate are
        taken with the opposite sign (the reverse percentile interval, hesterberg2015bootstrap). The estimate itself is
        biased upwards, most in small sets, and the interval may lie below it. In simulations of 250 to 2,000 sentences
        the interval held a true error of .03 or .08 in .87 to .95 of cases and one of 0 in .62 to .69. An interval of
        plain percentiles never held an error of 0, and held one of .03 at 250 sentences in .12 of cases.
        """
        of_bins = gaps[:, None] * (bins[:, None] == np.unique(bins))  # (sentences, bins)
        estimate = float(np.abs(of_bins.mean(axis=0)).sum())
        replicates = np.abs(self.sums(of_bins.T)).sum(axis=0)
        high, low = np.clip(2 * estimate - np.quantile(replicates, TAILS), 0, 1)
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
# tests/test_stats.py, seeds and sentences both drawn anew; plain percentiles for comparison.
COVERAGE = {5: (0.945, 0.965), 3: (0.936, 0.970)}
COVERAGE_OF_PERCENTILES = {5: (0.865, 0.985), 3: (0.798, 0.986)}


def expanded_interval(estimate: float, replicates: np.ndarray, error: StandardError) -> Interval:
    """`estimate` with the percentiles of its crossed bootstrap `replicates`, expanded to the width of a t interval.

    Percentiles are too narrow for a sample of a few seeds; t quantiles correct this (the expanded percentile interval,
    hesterberg2015bootstrap). Where seeds hardly matter, percentiles are too wide, because the crossed bootstrap counts
    the residual more than once (owen2007pigeonhole). So the replicates decide the interval's shape, and `error` decides
    its width. `COVERAGE` says what this achieves.
    """
    from scipy.stats import norm

    spread = norm.ppf(TAILS[1]) * replicates.std()
    expansion = error.half_width(CONFIDENCE) / spread if spread else 0.0
    low, high = estimate + expansion * (np.quantile(replicates, TAILS) - estimate)
    return Interval(estimate, float(low), float(high))


def holm(p_values: list[float]) -> list[float]:
    """p-values adjusted for their number by Holm's step-down method (Holm 1979)."""
    # not statsmodels' multipletests, which collects garbage at every call: .1 s, in simulations by the thousand
    ascending = np.argsort(p_values)
    steps = np.arange(len(p_values), 0, -1) * np.sort(p_values)
    adjusted = np.empty(len(p_values))
    adjusted[ascending] = np.maximum.accumulate(steps).clip(max=1)
    return adjusted.tolist()


@dataclass(frozen=True)
class Power:
    """What a design would show, as probabilities over repetitions with other seeds and other sentences.

    `of_difference` maps a true difference in accuracy to the probability that it is called significant;
    `of_equivalence` is the probability that two methods without any difference are shown to be equivalent; `smallest`
    is the true difference that is detected with probability .8. All are those of Holm's first and strictest step, and
    so the least that the rule achieves.
    """

    of_difference: dict[float, float]
    of_equivalence: float
    smallest: float


def power_of_design(error: StandardError, margin: float, pairs: int = 1) -> Power:
    """Power of one of `pairs` with this standard error: of detecting `DIFFERENCES`, of equivalence within ±`margin`.

    Observed differences are taken as normal around the true one, with the standard error as observed; a repetition
    would have to estimate it anew, so the result is an average over the χ² distribution of that estimate. The power
    does not depend on the observed difference; otherwise it would only repeat the p-value. Why power is reported:
    card2020power.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, norm

    if error.value == 0:
        return Power(dict.fromkeys(DIFFERENCES, 1.0), float(margin > 0), 0.0)
    level = SIGNIFICANCE / pairs
    probabilities = (np.arange(2_000) + 0.5) / 2_000
    estimated = np.sqrt(chi2.ppf(probabilities, error.degrees_of_freedom) / error.degrees_of_freedom)
    half_width = error.half_width(1 - level) * estimated
    room = margin - error.half_width(1 - 2 * level) * estimated

    def power(difference: float) -> float:
        ends = (np.array([[difference], [-difference]]) - half_width) / error.value
        return float(norm.cdf(ends).sum(axis=0).mean())

    return Power(
        of_difference={difference: power(difference) for difference in DIFFERENCES},
        of_equivalence=float((1 - 2 * norm.sf(room.clip(min=0) / error.value)).mean()),
        smallest=brentq(lambda difference: power(difference) - USUAL_POWER, 0, 1_000 * error.value),
    )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A difference of accuracies, judged among the others of its family.

    One statistic decides everything: the difference over its `standard_error`, in which seeds and sentences are both
    samples. `p_holm` is its p-value and `p_equivalent` that of two one-sided tests of a difference of ±`margin`, both
    adjusted by Holm over a family of `family` differences. `difference` has the t interval that holds
    together with those of all others in 95% of repetitions (Bonferroni's, the first step of Holm's).
    """

    difference: Interval
    standard_error: StandardError
    p_holm: float
    p_equivalent: float
    margin: float
    family: int

    @property
    def differs(self) -> bool:
        """Whether a difference is shown."""
        return self.p_holm < SIGNIFICANCE

    @property
    def above(self) -> bool:
        """Whether a difference is shown, and above zero."""
        return self.differs and self.difference.estimate > 0

    @property
    def judged(self) -> bool:
        """Whether it has enough seeds to conclude anything."""
        return True

    @property
    def verdict(self) -> str:
        """ "above" or "below" where a difference is shown, "equivalent" within the margin, else "open"."""
        if not self.judged:
            return "open"
        if self.differs:
            return "above" if self.above else "below"
        return "equivalent" if self.equivalent else "open"

    @property
    def equivalent(self) -> bool:
        """Whether any difference is shown to be smaller than the margin."""
        return self.p_equivalent < SIGNIFICANCE

    @property
    def within_margin(self) -> bool:
        """Whether the simultaneous interval lies within the margin."""
        return -self.margin <= self.difference.low and self.difference.high <= self.margin

    @property
    def unsized(self) -> bool:
        """Whether a difference is shown, and its simultaneous interval, which is wider than Holm's, includes zero."""
        return self.differs and not self.difference.excludes(0)


def judge_differences(
    differences: Mapping[Any, np.ndarray], shared: Mapping[Any, SeedVariance], margin: float
) -> dict[Any, dict[str, Any]]:
    """Key → the fields of `Judged`, of a family of `differences`, each (seeds, sentences).

    `shared` maps a key to the variance between seeds that it has in common with others; the rest have only their own.
    """
    errors = {key: standard_error(values, shared.get(key)) for key, values in differences.items()}
    estimates = {key: float(values.mean()) for key, values in differences.items()}
    p_values = holm([min(1.0, 2 * error.beyond(abs(estimates[key]))) for key, error in errors.items()])
    equivalence = holm([error.beyond(margin - abs(estimates[key])) for key, error in errors.items()])
    family, found = len(errors), {}
    for (key, error), p_holm, p_equivalent in zip(errors.items(), p_values, equivalence, strict=True):
        half_width = error.half_width(1 - SIGNIFICANCE / family)
        found[key] = {
            "difference": Interval(estimates[key], estimates[key] - half_width, estimates[key] + half_width),
            "standard_error": error,
            "p_holm": p_holm,
            "p_equivalent": p_equivalent,
            "margin": margin,
            "family": family,
        }
    return found


@dataclass(frozen=True, kw_only=True)
class PairedComparison(Judged):
    """Two methods on the same seeds and sentences; the difference is first less second, in accuracy."""

    first: str
    second: str

    @cached_property
    def power(self) -> Power:
        """What a comparison of these two methods by this design would show."""
        return power_of_design(self.standard_error, self.margin, self.family)

    def swapped(self) -> PairedComparison:
        """The same comparison, second less first."""
        return replace(self, first=self.second, second=self.first, difference=self.difference.negated())

    def better_first(self) -> PairedComparison:
        """The same comparison, the method first that is shown to be better."""
        return self if self.above else self.swapped()


def equivalence_margin(correct: Mapping[str, pd.DataFrame], by_raters: float = 0.0) -> float:
    """The difference in accuracy that two runs of one method stay within in 95% of cases (ISO 5725's repeatability).

    The runs differ in their seed, and their test labels come from other raters. `correct` is as in `compare_pairs`;
    `by_raters` is the variance that other raters give to an accuracy. A difference between methods below this margin
    is no larger than the difference between two runs of one method.
    """
    from scipy.stats import norm

    by_seeds = np.mean([frame.mean(axis=1).var() for frame in correct.values()]) if correct else 0.0
    return float(norm.ppf(1 - SIGNIFICANCE / 2) * np.sqrt(2 * (by_seeds + by_raters)))


def compare_pairs(correct: Mapping[str, pd.DataFrame], margin: float) -> list[PairedComparison]:
    """Compare every two methods of `correct`: method → frame of booleans, one row per seed, one column per sentence.

    A pair is compared on the seeds that both methods have; with fewer than `MINIMUM_SEEDS` it is left out. Few seeds
    say little of one pair's variance between seeds: pairs whose seeds happen to lie close would be called different. So
    the variance used is the pair's own or the mean of all pairs, whichever is larger. `family_wise_error` says what
    this achieves.
    """
    differences = {}
    for first, second in combinations(correct, 2):
        one, other = correct[first].align(correct[second], join="inner")
        if len(one) >= MINIMUM_SEEDS:
            differences[first, second] = one.to_numpy(float) - other.to_numpy(float)
    return _judge_pairs(differences, correct, margin)


def compare_with_fixed(correct: Mapping[str, pd.DataFrame], fixed: Mapping[str, pd.Series]) -> list[PairedComparison]:
    """Compare every method of `correct`, as in `compare_pairs`, with all answers of `fixed`, which have no seeds.

    `fixed` maps a name to booleans, one for each sentence. All pairs are one family: method less fixed answers.
    Equivalence is not asked for.
    """
    differences = {
        (first, second): frame.to_numpy(float) - answers[frame.columns].to_numpy(float)
        for first, frame in correct.items()
        for second, answers in fixed.items()
    }
    return _judge_pairs(differences, correct, margin=0.0)


def _judge_pairs(
    differences: Mapping[tuple[str, str], np.ndarray], correct: Mapping[str, pd.DataFrame], margin: float
) -> list[PairedComparison]:
    if not differences:
        return []
    names = [name for name in dict.fromkeys(sum(differences, ())) if name in correct]
    of_methods = np.array([correct[name].mean(axis=1).var() for name in names])
    of_pairs = np.array([values.mean(axis=1).var(ddof=1) for values in differences.values()])
    shared = _shared_variance(of_pairs, of_methods, min(map(len, differences.values())))
    judged = judge_differences(differences, dict.fromkeys(differences, shared), margin)
    return [PairedComparison(first=pair[0], second=pair[1], **found) for pair, found in judged.items()]


def _shared_variance(of_pairs: np.ndarray, of_methods: np.ndarray, seeds: int) -> SeedVariance:
    """The mean of the pairs' variances between seeds, with Satterthwaite's degrees of freedom.

    The degrees of freedom count a method by its share in the mean, so that one method whose seeds lie far apart does
    not count as many. Variances lie along the last axis.
    """
    methods = of_methods.shape[-1]
    shares = of_methods / np.maximum(of_methods.sum(axis=-1, keepdims=True), np.finfo(float).tiny)
    counted = 1 / np.maximum((shares**2).sum(axis=-1, keepdims=True), 1 / methods)  # 1 to methods
    degrees = (seeds - 1) * np.maximum((methods - 1) / methods * counted, 1)  # no fewer than one pair's own
    return SeedVariance(of_pairs.mean(axis=-1, keepdims=True), degrees)


def family_wise_error(answers: np.ndarray, seeds: int, times: float = 1.0) -> float:
    """How often `compare_pairs` would find a difference between methods that do not differ: a share of repetitions.

    `answers` (methods, seeds, sentences) are booleans of real runs. With their variances `REPETITIONS` experiments are
    drawn, in which all methods have one true accuracy and `seeds` seeds, whose accuracies spread `times` as far as the
    observed ones. Accuracies are drawn as normal, because a mean over many sentences is nearly normal.
    """
    from scipy.stats import t

    methods, observed, sentences = answers.shape
    of_seeds, of_sentences = answers.mean(axis=2), answers.mean(axis=1)
    residual = answers - of_seeds[..., None] - of_sentences[:, None] + answers.mean(axis=(1, 2), keepdims=True)
    residual = residual.reshape(methods, -1)
    # covariances between methods, of accuracies: what a run adds by itself, what sentences, and what seeds
    of_run = residual @ residual.T / ((observed - 1) * (sentences - 1)) / sentences
    of_sentences = np.cov(of_sentences) / sentences - of_run / observed
    of_seeds = np.diag(np.maximum(times**2 * of_seeds.var(axis=1, ddof=1) - of_run.diagonal(), 0))

    def drawn(covariance, *shape):
        random = np.random.default_rng(len(shape))
        return random.multivariate_normal(np.zeros(methods), covariance, shape, check_valid="ignore", method="eigh")

    accuracies = drawn(of_sentences, REPETITIONS)[:, None] + drawn(of_seeds + of_run, REPETITIONS, seeds)
    first, second = np.transpose([*combinations(range(methods), 2)])

    def of_pairs(covariance):
        return covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]

    differences = accuracies[..., first] - accuracies[..., second]  # (repetitions, seeds, pairs)
    own, in_both = differences.var(axis=1, ddof=1), of_pairs(of_run) / seeds
    shared = _shared_variance(own, accuracies.var(axis=1, ddof=1), seeds)
    by_sentences = np.maximum(of_pairs(of_sentences), 0) + in_both  # an estimate of a variance can lie below zero
    errors = _satterthwaite(by_sentences, own, shared, in_both, seeds, sentences)
    p_values = 2 * t.sf(np.abs(differences.mean(axis=1)) / errors[0], errors[1])
    return float((p_values.min(axis=1) <= SIGNIFICANCE / len(first)).mean())  # Holm's first step


def with_enough_seeds(answers: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Those methods of `answers`, one row per seed, that have enough seeds to be compared."""
    return {name: frame for name, frame in answers.items() if len(frame) >= MINIMUM_SEEDS}


def shared_seeds(correct: Mapping[str, pd.DataFrame]) -> list[int]:
    """The seeds that all methods of `correct` have; `correct` is as in `compare_pairs`, of one method or more."""
    return sorted(set.intersection(*(set(frame.index) for frame in correct.values())))


def ranks(correct: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How often each method has each rank when seeds and sentences are drawn again: one row per method.

    `correct` is as in `compare_pairs`; the seeds are those that all methods have. A column is a rank; the values are
    shares of the replicates of a crossed bootstrap. Of equals, the first named is the better. Empty where the methods
    share fewer than two seeds, of which nothing can be drawn.
    """
    import pandas as pd

    seeds = shared_seeds(correct)
    if len(seeds) < 2:
        return pd.DataFrame()
    answers = np.stack([frame.loc[seeds, next(iter(correct.values())).columns] for frame in correct.values()])
    means = CrossedBootstrap.draw(*answers.shape[1:]).means(answers)  # (methods, replicates)
    order = (-means).argsort(axis=0, kind="stable")
    shares = [(order == method).mean(axis=1) for method in range(len(means))]  # each (ranks,)
    return pd.DataFrame(shares, index=[*correct], columns=range(1, len(means) + 1))
