"""Baselines that fine-tune nothing: the largest class, a linear classifier on words, and one on the frozen base model.

Fitting a baseline takes seconds, and fine-tuning has to be better. Baselines read the sets of the main runs. They have
no seeds, so that their intervals draw only the texts again.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from course_utils.code_identity import code_of, digest, from_records
from course_utils.comparison.published import BASELINE_PREDICTIONS, records_folder
from course_utils.config import Experiment, RunConfig
from course_utils.errors import explained
from course_utils.methods import FLOOR, METHODS
from course_utils.methods.base import Method
from course_utils.paths import relative_to_project, runs_folder
from course_utils.text import hash_of_json
from course_utils.training.evaluation import MeanPooled, predict

PENALTIES = [10.0**power for power in range(-5, 3)]  # scikit-learn's C, the inverse strength of the L2 penalty


@dataclass(frozen=True)
class Baseline:
    """How tables and figures show a baseline, and the function for its features; the majority class has no features.

    `features` takes the configuration of the main runs and the training texts, and gives a transformer of scikit-learn
    for such frames.
    """

    name: str
    title: str
    marker: str
    color: str
    features: Callable[[RunConfig, pd.DataFrame], Any] | None = None


def word_features(config: RunConfig, train: pd.DataFrame) -> Any:
    """TF-IDF of words and of pairs of words, and of 3 and 4 letters in a row; the second texts of pairs by themselves.

    The letters serve scripts that put no spaces between words.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", sublinear_tf=True)
    letters = TfidfVectorizer(ngram_range=(3, 4), analyzer="char_wb", sublinear_tf=True)
    columns = ["text", "text_pair"] if "text_pair" in train else ["text"]
    return make_column_transformer(*((kind, column) for column in columns for kind in (words, letters)))


def frozen_features(config: RunConfig, train: pd.DataFrame) -> Any:
    """The mean of the base model's last hidden states over a text's tokens, each feature standardised."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    model, tokenizer = MeanPooled(config.base.load(config.load_task()).base_model), config.base.tokenizer()
    if torch.cuda.is_available():
        model.cuda()
    return make_pipeline(FunctionTransformer(lambda texts: predict(config, model, tokenizer, texts)), StandardScaler())


MAJORITY = Baseline("majority", "Majority class", "d", "#7f7f7f")
TF_IDF = Baseline("tf-idf", "TF-IDF and logistic regression", "*", "#8c510a", word_features)
FROZEN = Baseline("frozen", "Frozen base and logistic regression", "p", "#4d4d4d", frozen_features)
BASELINES = {baseline.name: baseline for baseline in (MAJORITY, TF_IDF, FROZEN)}
FITTED = [baseline for baseline in BASELINES.values() if baseline.features]


def shown(name: str) -> Method | Baseline:
    """The method or baseline called `name`: its title, marker and colour."""
    return METHODS.get(name) or BASELINES[name]


def title_of(name: str) -> str:
    """The title of the method or baseline called `name`."""
    return shown(name).title


def make_baselines(experiment: Experiment) -> pd.DataFrame | None:
    """The predictions of `experiment`'s baselines on every evaluation set: found beside its runs, or computed there.

    Where published records are read, the predictions come from the records; None where these have none.

    Columns baseline, set, example_id, label, scores (log-probabilities). `attrs` holds, by baseline, seconds (from the
    training texts to the classifier, the search for its penalty included) and penalty (C, chosen by the validation
    likelihood); and what they were computed from: data, base_model, settings, code.
    """
    if from_records():
        return read_baselines(experiment)
    config = experiment.shared
    data = config.load_data()
    made_from = {
        "data": data.fingerprint,
        "base_model": config.base.fingerprint(),
        "settings": config.digest,
        "code": _code(),
    }
    found = read_baselines(experiment)
    if found is not None and made_from.items() <= found.attrs.items():
        return found
    torch.set_num_threads(config.threads)
    fits = {baseline.name: fitted(baseline, config, data.sets) for baseline in FITTED}
    table = pd.concat([frame.assign(baseline=name) for name, (frame, _, _) in fits.items()], ignore_index=True)
    table.attrs = made_from | {
        "seconds": {name: seconds for name, (_, seconds, _) in fits.items()},
        "penalty": {name: penalty for name, (_, _, penalty) in fits.items()},
    }
    file = _file(experiment)
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(file.with_suffix(".new"), index=False)
    file.with_suffix(".new").replace(file)
    return table


def read_baselines(experiment: Experiment) -> pd.DataFrame | None:
    """What `make_baselines` last computed for `experiment`, None if nothing; CourseError where the file is damaged."""
    file = _file(experiment)
    with explained(f"{relative_to_project(file)} is damaged", "delete it and run again"):
        return pd.read_parquet(file) if file.is_file() else None


def _file(experiment: Experiment) -> Path:
    return (records_folder(experiment) if from_records() else runs_folder() / experiment.name) / BASELINE_PREDICTIONS


def _code() -> str:
    own = digest(inspect.getsource(sys.modules[__name__]))
    return hash_of_json(code_of(FLOOR.name) | {"baselines": own, "scikit-learn": version("scikit-learn")})


def fitted(baseline: Baseline, config: RunConfig, sets: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, float, float]:
    """Predictions on every evaluation set, seconds, and the penalty that gave validation the best likelihood."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    train, validation = sets["train"], sets["validation"]
    features = baseline.features(config, train)  # type: ignore[misc]  # only the majority class has none
    start = time.perf_counter()
    known, judged = features.fit_transform(train), features.transform(validation)

    def classifier(penalty: float):
        return LogisticRegression(C=penalty, max_iter=1000).fit(known, train["label"])

    def loss(model) -> float:
        return log_loss(validation["label"], model.predict_proba(judged), labels=model.classes_)

    best = min(map(classifier, PENALTIES), key=loss)
    seconds = time.perf_counter() - start
    frames = [
        texts[["example_id", "label"]].assign(
            set=name, scores=list(best.predict_log_proba(features.transform(texts)).astype(np.float32))
        )
        for name, texts in sets.items()
        if name not in ("train", "validation")
    ]
    return pd.concat(frames, ignore_index=True), seconds, best.C
