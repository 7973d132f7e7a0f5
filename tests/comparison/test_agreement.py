"""Agreement of methods and of people, against worked examples and loops that are too simple to be wrong."""

import numpy as np
import pandas as pd
import pytest
from small import ADAPTER, MULTIPLIED

from course_utils.comparison.agreement import (
    accuracy_by_rating,
    cohens_kappa,
    human_ceiling,
    missed_by_all,
    rater_agreement,
    with_ratings,
)
from course_utils.comparison.results import Predictions
from course_utils.inputs.embedded import embedded_sentences
from course_utils.inputs.sources import CLEAR_RATING, five_classes
from course_utils.report import exhibits, plots


def test_kappa_of_a_worked_example():
    # Two readers, 50 proposals: both yes 20, only the first 5, only the second 10, both no 15; kappa .4 (Wikipedia).
    first = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    second = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    one = pd.DataFrame([first, first, first])
    other = pd.DataFrame([second, first], index=[1, 2])[range(49, -1, -1)]  # no seed 0, sentences in another order
    kappa = cohens_kappa({"one": one, "other": other})
    assert kappa.loc["one", "other"] == kappa.loc["other", "one"] == pytest.approx((0.4 + 1) / 2)
    assert kappa.loc["one", "one"] == 1 and kappa.loc["other", "other"] == pytest.approx(0.4)
    assert np.isnan(cohens_kappa({"one": one.loc[:0]}).loc["one", "one"])


@pytest.fixture(scope="module")
def movies():
    """The labelled movie sentences, as a set of `Data` holds them."""
    movies = embedded_sentences("movies", ["example_id", "text", "mean_rating"])
    movies = movies[movies["mean_rating"].abs() >= CLEAR_RATING]
    return with_ratings(movies.assign(label=(movies["mean_rating"] > 0).astype(int)))


def test_ratings_are_those_of_the_sentence(movies):
    assert movies["ratings"].map(np.mean).to_numpy() == pytest.approx(movies["mean_rating"].to_numpy())


def test_one_rater_against_the_mean_of_the_others(movies):
    assert rater_agreement(np.array([3, 2, 0, -1])).tolist() == [1, 1, 0.5, 0]
    for ratings in movies["ratings"].head(200):
        signs = [np.sign(rating) * np.sign(np.delete(ratings, i).mean()) for i, rating in enumerate(ratings)]
        assert rater_agreement(ratings).tolist() == [{1: 1, 0: 0.5, -1: 0}[sign] for sign in signs]
    assert human_ceiling(movies) == pytest.approx(0.944, abs=5e-4)  # as measured when the project was designed


def test_one_rater_in_five_classes(movies):
    assert [five_classes(mean) for mean in (-4, -2, -1.9, -0.5, -0.4, 0, 0.4, 0.5, 1.9, 2, 4)] == [
        0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4,
    ]  # fmt: skip
    assert all(five_classes(-mean) == 4 - five_classes(mean) for mean in np.arange(-4, 4.01, 0.05).round(2))
    assert rater_agreement(np.array([2, 2, 1, -2]), five_classes).tolist() == [0, 0, 1, 0]  # means 1/3, 1/3, 2/3, 5/3
    everyone = with_ratings(embedded_sentences("movies", ["text", "mean_rating"]))
    assert human_ceiling(everyone, five_classes) == pytest.approx(0.558, abs=5e-4)


@pytest.mark.parametrize(
    ("weak", "strong", "said"),
    [(0.6, 0.9, "less"), (0.9, 0.6, "more"), (0.8, 0.8, "as often")],
)
def test_whether_people_agree_less_is_computed(weak, strong, said):
    person = pd.Series({"0 to 0.5": weak, "3 or more": strong})
    assert f"People agree {said} on the most weakly " in exhibits.say.human_ceiling_title(person)
    text = exhibits.say.human_ceiling_text(person, 0.558, False)
    assert "agrees with the mean of the others in 55.8% of cases" in text and "everywhere" not in text
    between = pd.Series({"0 to 0.5": 0.2, "1 to 1.5": 0.5, "1.5 to 2": 0.3, "3 or more": 0.9})
    assert "the share does not rise everywhere. A" in exhibits.say.human_ceiling_text(between, 0.558, True)


@pytest.fixture
def answered(movies):
    """Predictions for 600 movie sentences: LoRA errs where ratings are weak, HiRA on every third sentence."""
    sentences = movies.head(600)
    labels = sentences.set_index("example_id")["label"]
    weak = (sentences["mean_rating"].abs() < 1).to_numpy()
    wrong = {ADAPTER: [weak, weak], MULTIPLIED: [np.arange(600) % 3 == 0] * 2}
    predicted = {
        method: pd.DataFrame(np.where(seeds, 1 - labels, labels), columns=labels.index)
        for method, seeds in wrong.items()
    }
    # Sentences need not come in the order of the predictions.
    return Predictions(labels, predicted), sentences.sample(frac=1, random_state=0)


def test_accuracy_and_people_by_strength_of_the_rating(answered):
    predictions, sentences = answered
    table = accuracy_by_rating(predictions, sentences)
    wide = table.pivot(index="rating", columns="method", values="accuracy")
    assert list(table["rating"].unique()) == ["0.5 to 1", "1 to 1.5", "1.5 to 2", "2 to 2.5", "2.5 to 3", "3 or more"]
    assert wide[ADAPTER].to_dict() == {name: float(name != "0.5 to 1") for name in wide.index}
    strong = sentences[sentences["mean_rating"].abs() >= 3]
    assert wide["human"]["3 or more"] == human_ceiling(strong) > 0.97 > 0.8 > wide["human"]["0.5 to 1"]
    sizes = table[table["method"] == MULTIPLIED]
    assert sizes["sentences"].sum() == 600
    assert np.average(sizes["accuracy"], weights=sizes["sentences"]) == pytest.approx(400 / 600)
    axis = plots.accuracy_by_rating(table, "LoRA errs where people do").axes[0]
    assert len(axis.lines) == 3 and axis.get_xticklabels()[0].get_text().startswith("0.5 to 1")


def test_missed_by_all_shows_how_people_split(answered):
    predictions, sentences = answered
    missed = missed_by_all(predictions, sentences)
    ours = sentences.set_index("example_id").loc[predictions.labels.index]
    expected = ours[(ours["mean_rating"].abs() < 1).to_numpy() & (np.arange(600) % 3 == 0)]
    assert set(missed["text"]) == set(expected["text"]) and missed["mean_rating"].abs().is_monotonic_decreasing
    first = expected[expected["text"] == missed["text"][0]].iloc[0]
    counts = missed.loc[0, ["negative", "neutral", "positive"]].tolist()
    assert counts == [sum(r < 0 for r in first.ratings), sum(r == 0 for r in first.ratings), sum(first.ratings > 0)]
    pairs = missed_by_all(predictions, sentences[["example_id", "text", "label"]].assign(text_pair="of two"))
    assert [*pairs] == ["text", "text_pair", "label"]
    unrated = missed_by_all(predictions, sentences[["example_id", "text", "label"]])
    assert list(unrated) == ["text", "label"] and set(unrated["text"]) == set(expected["text"])
    predictions.predicted[ADAPTER].iloc[0] = predictions.labels  # one run that misses nothing
    assert missed_by_all(predictions, sentences).empty
