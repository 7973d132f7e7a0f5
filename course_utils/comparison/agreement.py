"""Who agrees with whom: the methods with each other, one human rater with the others, and where all of them fail."""

from collections.abc import Callable
from functools import cache
from itertools import combinations, combinations_with_replacement, pairwise

import numpy as np
import pandas as pd

from course_utils.comparison.results import ExperimentRuns, Predictions
from course_utils.inputs.embedded import SENTENCES, embedded_sentences
from course_utils.inputs.sources import CLEAR_RATING, side

RATING_BINS = (0.0, CLEAR_RATING, 1.0, 1.5, 2.0, 2.5, 3.0)  # lower ends, of the absolute mean rating
HUMAN = "human"  # one rater, in a column that otherwise names methods
PANELS = 200  # drawn for each sentence from its raters, each of as many raters


def cohens_kappa(predicted: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Cohen's kappa between methods, a square table: agreement beyond chance of the classes that they predict.

    `predicted` maps a method to classes, one row per seed, one column per sentence. Two methods are compared on the
    seeds that both have, and the mean is taken; the diagonal is a method's agreement with itself under another seed,
    over all pairs of its seeds. NaN where there is nothing to compare.
    """
    from sklearn.metrics import cohen_kappa_score

    table = pd.DataFrame(np.nan, index=list(predicted), columns=list(predicted))
    for first, second in combinations_with_replacement(predicted, 2):
        one, other = predicted[first], predicted[second][predicted[first].columns]
        shared = one.index.intersection(other.index)
        seeds = combinations(shared, 2) if first == second else zip(shared, shared, strict=True)
        kappas = [cohen_kappa_score(one.loc[a], other.loc[b]) for a, b in seeds]
        table.loc[first, second] = table.loc[second, first] = np.mean(kappas) if kappas else np.nan
    return table


def rater_agreement(ratings: np.ndarray, judged_as: Callable[[float], int | None] = side) -> np.ndarray:
    """How one rater agrees with the others, for each of the `ratings` (raters,) of a sentence: (raters,).

    1 where a rating is judged as the mean of the others is, 0 where it is judged otherwise, ½ where one of the two
    takes no side, which is the value of a guess.
    """
    others = (ratings.sum() - ratings) / (len(ratings) - 1)
    pairs = [(judged_as(own), judged_as(mean)) for own, mean in zip(ratings, others, strict=True)]
    return np.array([0.5 if None in pair else float(pair[0] == pair[1]) for pair in pairs])


def with_ratings(sentences: pd.DataFrame) -> pd.DataFrame:
    """`sentences` (text and mean_rating among its columns) with a further column, ratings: one integer per rater.

    For embedded sentences of any domain (hutto2014vader).
    """
    domains = pd.concat([embedded_sentences(name, ["text", "mean_rating", "ratings"]) for name in SENTENCES])
    rated = domains.drop_duplicates(["text", "mean_rating"])
    return sentences.merge(rated, how="left", on=["text", "mean_rating"], validate="many_to_one")


@cache
def test_sentences(results: ExperimentRuns) -> pd.DataFrame:
    """The test sentences of an experiment, with the ratings of each where people rated them."""
    test = results.experiment.shared.load_data().sets["test"]
    return with_ratings(test) if "mean_rating" in test else test


def judged_as(results: ExperimentRuns) -> Callable[[float], int | None]:
    """How one rating of an experiment's sentences is compared with others."""
    return getattr(results.experiment.shared.source, "judged_as", side)


@cache
def variance_by_raters(results: ExperimentRuns) -> float:
    """The variance that other raters would give to an accuracy on the test set; 0 where nobody rated the sentences.

    From the raters of every sentence as many are drawn again, with replacement. The sentence's label may then change,
    and with it whether a method is right.
    """
    if not hasattr(results.experiment.shared.source, "judged_as"):
        return 0.0
    sentences, judge = test_sentences(results), judged_as(results)
    if "ratings" not in sentences:  # of another source that is judged as this one is
        return 0.0
    random, turned = np.random.default_rng(0), []
    for ratings in sentences["ratings"]:
        means, counts = np.unique(random.choice(ratings, (PANELS, len(ratings))).mean(axis=1), return_counts=True)
        turned.append(sum(counts[[judge(mean) != judge(ratings.mean()) for mean in means]]) / PANELS)
    return float(np.sum(np.multiply(turned, np.subtract(1, turned))) / len(turned) ** 2)


def human_ceiling(sentences: pd.DataFrame, judged_as: Callable[[float], int | None] = side) -> float:
    """How often one rater agrees with the others on `sentences`, as `with_ratings` returns them: a share."""
    return float(np.concatenate([rater_agreement(ratings, judged_as) for ratings in sentences["ratings"]]).mean())


def accuracy_by_rating(
    predictions: Predictions, sentences: pd.DataFrame, judged_as: Callable[[float], int | None] = side
) -> pd.DataFrame:
    """Accuracy of every method, and agreement of one rater with the others, by how strongly sentences were rated.

    `sentences` are those of `predictions`, as `with_ratings` returns them. Columns: method (a name, or "human"),
    rating ("0.5 to 1", …: of the absolute mean rating), sentences (their number), accuracy (a share, mean over
    seeds). Bins without a sentence are left out.
    """
    sentences = sentences.set_index("example_id").loc[predictions.labels.index]
    ends = [f"{low:g} to {high:g}" for low, high in pairwise(RATING_BINS)]
    names = [*ends, f"{RATING_BINS[-1]:g} or more"]
    strength = pd.cut(sentences["mean_rating"].abs(), [*RATING_BINS, np.inf], right=False, labels=names)
    rows = []
    for name, group in sentences.groupby(strength, observed=True):
        accuracy = {method: frame[group.index].to_numpy().mean() for method, frame in predictions.correct.items()}
        for method, value in (accuracy | {HUMAN: human_ceiling(group, judged_as)}).items():
            rows.append({"method": method, "rating": name, "sentences": len(group), "accuracy": value})
    return pd.DataFrame(rows)


def missed_by_all(predictions: Predictions, sentences: pd.DataFrame) -> pd.DataFrame:
    """The sentences that every run of every method classifies wrongly, the most strongly rated first.

    `sentences` are those of `predictions`, with ratings where there are some. Columns: text, of pairs
    text_pair, label, and with ratings mean_rating, negative, neutral, positive: the number of raters on each side.
    """
    correct = pd.concat(predictions.correct.values())
    missed = sentences.set_index("example_id").loc[correct.columns[~correct.any()]]
    if "ratings" not in missed:
        return missed[[name for name in ("text", "text_pair", "label") if name in missed]].reset_index(drop=True)
    missed = missed.sort_values("mean_rating", key=np.abs, ascending=False, ignore_index=True)
    for sign, name in ((-1, "negative"), (0, "neutral"), (1, "positive")):
        missed[name] = [int((np.sign(ratings) == sign).sum()) for ratings in missed["ratings"]]
    return missed[["text", "label", "mean_rating", "negative", "neutral", "positive"]]
