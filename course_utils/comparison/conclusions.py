"""The sentences that the statistics allow, no other: what differs, what is equivalent, what stays open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from course_utils.methods import METHODS
from course_utils.stats import DIFFERENCES, MARGIN, PairedComparison, Power, compare_pairs
from course_utils.text import and_joined, counted, in_sentence

if TYPE_CHECKING:
    import pandas as pd

    from course_utils.comparison.tables import ExperimentRuns, MissingRun
    from course_utils.methods.base import Method

MINIMUM_SEEDS = 3


def experiment_verdicts(results: ExperimentRuns) -> list[str]:
    """The verdicts on the test set of the main runs, as far as these are there."""
    missing = [run for run in results.missing if run.config.study == "main"]
    return verdicts(results.predictions.correct, missing)


def verdicts(
    correct: Mapping[str, pd.DataFrame],
    missing: Sequence[MissingRun] = (),
    margin: float = MARGIN,
    methods: Mapping[str, Method] = METHODS,
) -> list[str]:
    """What may be said of methods with these answers, a sentence each.

    `correct` maps a method to a frame of booleans, a row a seed, a column a sentence. Differences count where they
    are significant after Holm's correction and their crossed-bootstrap interval excludes zero; equivalence
    where the 90% interval lies within ±`margin`. What stays inconclusive comes with the differences that the design
    would have seen, and the last sentence gives the design's power. A method with fewer than three seeds is left out
    of every conclusion, and a sentence says so.
    """
    few = {name: frame for name, frame in correct.items() if len(frame) < MINIMUM_SEEDS}
    enough = {name: frame for name, frame in correct.items() if name not in few}
    sentences = [_missing_runs(missing, methods), _too_few_seeds(few, methods)]
    if len(enough) >= 2:
        pairs = compare_pairs(enough, margin)
        sentences += _best_adapter(enough, pairs, methods)
        for baseline in (name for name in enough if methods[name].is_baseline):
            sentences += _against_baseline(baseline, pairs, methods)
        sentences += _among_adapters(pairs, methods, margin)
        sentences.append(_power_of_design(pairs, margin))
    else:
        sentences.append(
            f"Nothing is concluded about methods: fewer than two of them have {MINIMUM_SEEDS} finished seeds."
        )
    return [sentence for sentence in sentences if sentence]


def _missing_runs(missing: Sequence[MissingRun], methods: Mapping[str, Method]) -> str:
    if not missing:
        return ""
    listed = "; ".join(f"{methods[run.config.method].title}, seed {run.config.seed} ({run.reason})" for run in missing)
    return f"{counted(len(missing), 'run')} cannot be used: {listed}."


def _too_few_seeds(few: Mapping[str, pd.DataFrame], methods: Mapping[str, Method]) -> str:
    if not few:
        return ""
    listed = and_joined([f"{methods[name].title} ({counted(len(frame), 'seed')})" for name, frame in few.items()])
    return (
        f"Too few seeds to conclude anything about {listed}: with fewer than {MINIMUM_SEEDS}, a difference between "
        "methods cannot be told from one between seeds."
    )


def _best_adapter(
    correct: Mapping[str, pd.DataFrame], pairs: list[PairedComparison], methods: Mapping[str, Method]
) -> list[str]:
    accuracy = {name: frame.to_numpy().mean() for name, frame in correct.items() if not methods[name].is_baseline}
    if len(accuracy) < 2:
        return []
    best = max(accuracy, key=accuracy.__getitem__)
    against = [_turned(pair, best) for pair in pairs if best in (pair.first, pair.second)]
    rivals = [pair for pair in against if pair.second in accuracy]
    start = (
        f"{methods[best].title} has the highest mean accuracy of the adapter methods ({accuracy[best]:.1%}, "
        f"{counted(len(correct[best]), 'seed')})"
    )
    open_ = [methods[pair.second].title for pair in rivals if not pair.differs]
    if not open_:
        return [f"{start}, and the difference to each of the others is significant."]
    return [f"{start}, but it is not shown to be better than {and_joined(open_)}."]


def _against_baseline(baseline: str, pairs: list[PairedComparison], methods: Mapping[str, Method]) -> list[str]:
    """One sentence for each adapter method, against `baseline`."""
    against = [pair for pair in pairs if baseline in (pair.first, pair.second)]
    turned = [_turned(pair, pair.second if pair.first == baseline else pair.first) for pair in against]
    name = in_sentence(methods[baseline].title)
    return [
        f"{methods[pair.first].title} against {name}: {difference_in_points(pair)}; {_verdict(pair)}."
        for pair in turned
        if not methods[pair.first].is_baseline
    ]


def _among_adapters(pairs: list[PairedComparison], methods: Mapping[str, Method], margin: float) -> list[str]:
    """The pairs of adapter methods, grouped by what is shown of them."""
    among = [pair for pair in pairs if not (methods[pair.first].is_baseline or methods[pair.second].is_baseline)]

    def listed(chosen: list[PairedComparison]) -> str:
        return "; ".join(
            f"{methods[pair.first].title} and {methods[pair.second].title} ({difference_in_points(pair)}"
            f"{'' if pair.differs or pair.equivalent else f'; {_sight(pair.power)}'})"
            for pair in chosen
        )

    groups = {
        "Significantly different after Holm's correction": [pair for pair in among if pair.differs],
        f"Equivalent within {100 * margin:g} points": [pair for pair in among if pair.equivalent],
        "Inconclusive, neither different nor equivalent": [
            pair for pair in among if not (pair.differs or pair.equivalent)
        ],
    }
    return [f"{name}: {listed(chosen)}." for name, chosen in groups.items() if chosen]


def _power_of_design(pairs: list[PairedComparison], margin: float) -> str:
    """What the design would see, over all pairs."""
    powers = [pair.power for pair in pairs]
    of_differences = {size: _typical([power.of_difference[size] for power in powers], "%") for size in DIFFERENCES}
    seen = and_joined([f"of {_counted_points(size)} in {power}" for size, power in of_differences.items()])
    return (
        f"Power (median pair, and from pair to pair): repeated with other seeds and other sentences, this design would "
        f"see a true difference {seen} of cases; four times out of five it would see one of "
        f"{_typical([power.smallest for power in powers], ' points', digits=1)}. Two methods without any difference "
        f"would be shown to lie within {100 * margin:g} points in "
        f"{_typical([power.of_equivalence for power in powers], '%')} of cases."
    )


def _typical(shares: list[float], unit: str, digits: int = 0) -> str:
    """The median of `shares`, in per cent, with the least and the greatest where they differ from it."""
    low, middle, high = (f"{100 * share:.{digits}f}" for share in (min(shares), median(shares), max(shares)))
    return f"{middle}{unit}" + (f" ({low} to {high})" if low != high else "")


def _sight(power: Power) -> str:
    """Which of 1, 1.5 and 2 points the design would see four times out of five, and which not."""
    seen = [difference for difference in DIFFERENCES if power.sees(difference)]
    unseen = [difference for difference in DIFFERENCES if difference not in seen]
    if not seen:
        return f"this design would not see even {_counted_points(unseen[-1])}"
    return f"this design would see {_counted_points(seen[0])}" + (f", not {100 * unseen[-1]:g}" if unseen else "")


def _counted_points(difference: float) -> str:
    return f"{100 * difference:g} point{'s' if difference != 0.01 else ''}"


def _turned(pair: PairedComparison, first: str) -> PairedComparison:
    """`pair` with the method `first` as its first."""
    return pair if pair.first == first else pair.swapped()


def difference_in_points(pair: PairedComparison) -> str:
    """The difference of a pair with its interval: "+1.4 points, 95% interval +0.6 to +2.1"."""
    difference = pair.difference
    interval = f"{signed_points(difference.low)} to {signed_points(difference.high)}"
    return f"{signed_points(difference.estimate)} points, 95% interval {interval}"


def signed_points(difference: float) -> str:
    """A difference of accuracies in points: "+1.4", "−0.04" where one digit would hide which side of zero it is on."""
    for digits in (1, 2):
        if points := round(100 * difference, digits):
            return f"{points:+.{digits}f}".replace("-", "−")
    return "0.0"


def _verdict(pair: PairedComparison) -> str:
    if pair.differs:
        within = f", though smaller than {100 * pair.margin:g} points" if pair.equivalent else ""
        return f"a significant difference{within}"
    if pair.equivalent:
        return f"equivalent within {100 * pair.margin:g} points"
    return f"inconclusive: {_sight(pair.power)}"
