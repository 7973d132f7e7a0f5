"""Tools of the chapter of mistakes: small classifiers, adapters trained briefly, and an account of the sizes.

Labels are class numbers (n,), states are features (n, width), and accuracies are in per cent.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from course_utils.audit.audit import EXAMPLE_CARD, audit_card
from course_utils.audit.findings import Finding
from course_utils.comparison.strays import refuse_strays
from course_utils.config import Experiment, RunConfig, SharedSettings, load_experiment
from course_utils.errors import CourseError
from course_utils.inputs.splits import Data
from course_utils.methods import METHODS
from course_utils.methods.base import Method
from course_utils.runs import DataRecord
from course_utils.tasks.classification import score
from course_utils.training.evaluation import MeanPooled, predict
from course_utils.training.trainer import adapted_model, make_trainer


class Account:
    """The mistakes of a chapter, each with its size and the check that caught it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def pitfall(
        self, name: str, shown: float, right: float, check: str, caught: bool | None, unit: str = "points"
    ) -> None:
        """Keep a mistake, and print its size: how far what it shows is from what is right, in `unit`.

        `caught` is None where the check cannot catch it on these texts, which the table then says. Raises
        AssertionError where the check could have `caught` it and has not.
        """
        assert caught in (True, None), f"{name}: {check} has not caught it"
        size, side = abs(shown - right), "too high" if shown > right else "too low"
        row = {"pitfall": name, "shown": shown, "right": right, "size": size, "unit": unit}
        row["check"] = check if caught else f"{check}, which cannot catch it here"
        self.rows.append(row)
        of = f" ({unit})" if unit.startswith("%") else ""
        points = " points" if of or unit == "points" else ""  # percentages differ by points
        said = f"{side} by {size:,.1f}{points}" if size >= 0.05 else "less than 0.05 apart"
        print(f"shown: {shown:,.1f}, right: {right:,.1f}{of}; {said}")

    def table(self) -> pd.DataFrame:
        """One row per mistake, the largest first: pitfall (the index), shown, right, size, unit, check."""
        return pd.DataFrame(self.rows).sort_values("size", ascending=False).set_index("pitfall")


# Small classifiers


class States(MeanPooled):
    """A base model that gives two vectors per text: the last state of its first token, and the mean over all tokens."""

    def forward(self, attention_mask: torch.Tensor, **tokens: torch.Tensor) -> SimpleNamespace:
        states = self.base(attention_mask=attention_mask, **tokens).last_hidden_state.float()  # (texts, tokens, width)
        mean = (states * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True)
        return SimpleNamespace(logits=torch.cat([states[:, 0], mean], dim=1))


def states_of(config: RunConfig, base: nn.Module, tokenizer, frame: pd.DataFrame) -> list[np.ndarray]:
    """The states of the first token and the mean states, each (n, width), of the texts of `frame`."""
    return np.split(predict(config, States(base), tokenizer, frame), 2, axis=1)


def fitted(model: Pipeline, inputs: Any, labels: np.ndarray) -> Pipeline:
    """`model` fitted to labels (n,) of the inputs; one that always gives the same answer where all labels are alike."""
    always = make_pipeline(DummyClassifier(strategy="most_frequent"))
    return (model if len({*labels}) > 1 else always).fit(inputs, labels)


def classifier(states: np.ndarray, labels: np.ndarray, strength: float = 0.01) -> Pipeline:
    """A logistic regression on standardised states."""
    model = LogisticRegression(C=strength, max_iter=1_000)
    return fitted(make_pipeline(StandardScaler(), model), states, labels)


def sparse_classifier(states: np.ndarray, labels: np.ndarray, strength: float, seed: int) -> Pipeline:
    """A linear classifier on standardised states, with an L1 penalty that sets weights to zero."""
    model = SGDClassifier(loss="log_loss", penalty="l1", alpha=strength, max_iter=30, tol=None, random_state=seed)
    return fitted(make_pipeline(StandardScaler(), model), states, labels)


def words(frame: pd.DataFrame) -> Pipeline:
    """A logistic regression on the words and the pairs of words of a text, weighed by TF-IDF."""
    counts = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", sublinear_tf=True)
    model = LogisticRegression(C=10, max_iter=1_000)
    return fitted(make_pipeline(counts, model), frame.text, frame.label)


def hits(answers: np.ndarray, frame: pd.DataFrame) -> np.ndarray:
    """One for every text whose answer is right, zero for the others (n,)."""
    return (answers == frame.label.to_numpy()).astype(float)


def accuracy(model: Pipeline, inputs: Any, frame: pd.DataFrame) -> float:
    """Accuracy of the answers of `model` to the `inputs`, which belong to the texts of `frame`."""
    return float(100 * hits(model.predict(inputs), frame).mean())


def small_networks(states: np.ndarray, labels: np.ndarray, asked: np.ndarray, seeds: int) -> Iterator[np.ndarray]:
    """The answers (n,) of a network, after ten epochs, to the states `asked`; one network for each of so many `seeds`.

    A seed decides the first weights and the order of the texts.
    """
    with warnings.catch_warnings(category=ConvergenceWarning, action="ignore"):  # ten epochs are meant
        for seed in range(seeds):
            network = MLPClassifier(
                (16,), batch_size=min(16, len(states)), max_iter=10, learning_rate_init=3e-3, random_state=seed
            )
            yield fitted(make_pipeline(network), states, labels).predict(asked)


# Adapters


def with_all_methods(experiment: Experiment, overrides: dict[str, Any]) -> Experiment:
    """`experiment` with other settings, and those of the methods from `smoke` where its own profile lacks a method."""
    known = experiment.profile.methods
    if "default" in known or {*overrides["methods"]} <= {*known}:
        return load_experiment(experiment.profile_name, overrides)
    shared = {name: getattr(experiment.shared, name) for name in SharedSettings.model_fields}
    return load_experiment("smoke", shared | overrides)


def tuned(run: RunConfig, rate: float, tokenizer, data: Data) -> nn.Module:
    """The model that the method of `run` adapts to the training texts of `data`, with the learning rate `rate`."""
    settings = run.settings.model_copy(update={"learning_rate": rate})
    run = run.model_copy(update={"settings": settings})
    base = METHODS[run.method].load_base(run.base, run.load_task(), run.precision, run.settings)
    model = adapted_model(run, base)
    with TemporaryDirectory() as folder:
        make_trainer(run, model, tokenizer, data, Path(folder)).train()
    return model


def damaged_states(config: RunConfig, damage: Callable[[nn.Module], Any], tokenizer, frame: pd.DataFrame) -> np.ndarray:
    """The mean states (n, width) of the texts of `frame` in the base model of `config` after `damage` of it."""
    model = config.base.load(config.load_task())
    damage(model)
    return states_of(config, model.base_model, tokenizer, frame)[1]


def share_lost(method: Method, model: nn.Module, cut: nn.Module) -> float:
    """Squared distance of the update of `cut` from the update ΔW of `model`, as a share of the squared norm of ΔW."""
    whole, rest = method.delta_weights(model), method.delta_weights(cut)
    size = sum(delta.norm().item() ** 2 for _, delta in whole.values())
    return sum((whole[name][1] - delta).norm().item() ** 2 for name, (_, delta) in rest.items()) / size


def factors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameter → tensor, of the factors A and B of an adapted model."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if "lora_" in name}


# What the checks are given


def head_trial(
    rate: float, states: list[np.ndarray], frames: list[pd.DataFrame], classes: int, steps: int = 50
) -> dict[str, float]:
    """What a linear head reaches after `steps` of Adam from zero: `score` on validation, and test, its test accuracy.

    `states` and `frames` are those of training, validation and test. The metrics of `score` are not in per cent.
    """
    train, *others = (torch.tensor(each, dtype=torch.float32) for each in states)
    labels = torch.tensor(frames[0].label.to_numpy())
    head = nn.Linear(train.shape[1], classes)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    optimiser = torch.optim.Adam(head.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(train), labels).backward()
        optimiser.step()
    chosen, asked = (head(each).detach().numpy() for each in others)
    on_test = 100 * hits(asked.argmax(axis=1), frames[2]).mean()
    return {**score(chosen, frames[1].label.to_numpy()), "test": float(on_test)}


def as_trials(method: str, rates: Iterable[float], metrics: list[dict[str, float]]) -> pd.DataFrame:
    """Trials of a search, one row per rate, as `search_sentences` reads them; `metrics` are of validation texts."""
    trials = pd.DataFrame(metrics).assign(method=method, learning_rate=list(rates), of_seeds=[[own] for own in metrics])
    return trials.assign(best=trials.nll == trials.nll.min())


def refusal(one: RunConfig, other: RunConfig, varies: tuple[str, ...] = ()) -> str:
    """Why runs of these configurations are not compared where only `varies` may differ; empty where they are."""
    runs = []
    for name, config in (("the other", other), ("one run", one)):
        data = DataRecord(source="", sizes={}, titles={}, fingerprint="")
        result = SimpleNamespace(code={}, base_model=config.base_model, data=data)
        runs.append(SimpleNamespace(name=name, config=config, result=result))
    try:
        refuse_strays(runs, varies)  # type: ignore[arg-type]  # it reads no more of a run than these hold
    except CourseError as error:
        return str(error).partition(", and")[0]
    return ""


def finding(about: str, card: Path | str = EXAMPLE_CARD) -> Finding:
    """The one finding, with `about` in its claim, of the audit of a model card, by default the package's example."""
    [found] = [each for each in audit_card(card) if about in each.claim]
    return found


def audited(about: str, claim: str) -> Finding:
    """The finding about a model card that claims nothing else."""
    with TemporaryDirectory() as folder:
        card = f"---\nlibrary_name: peft\n---\n# A model\n\n## Results\n\n- **{about}:** {claim}\n"
        (Path(folder) / "README.md").write_text(card)
        return finding(about, folder)


def at_frequent_word(encoder: nn.Module, tokenizer, texts: list[str], frequent: torch.Tensor, hidden: bool):
    """State at the first `frequent` word of each text (n, width), and which word that is (n,).

    Texts without such a word are left out. Where it is `hidden`, a mask covers the word.
    """
    options = {"padding": True, "truncation": True, "max_length": 32, "return_tensors": "pt"}
    batch = tokenizer(texts, return_token_type_ids=False, **options)
    is_frequent = torch.isin(batch.input_ids, frequent)
    rows = is_frequent.any(dim=1).nonzero()[:, 0]
    places = is_frequent.int().argmax(dim=1)[rows]
    words = batch.input_ids[rows, places]
    if hidden:
        batch.input_ids[rows, places] = tokenizer.mask_token_id
    with torch.inference_mode():
        states = encoder(**batch).last_hidden_state[rows, places]
    return states.numpy(), words.numpy()


def perplexity(learned: tuple[np.ndarray, np.ndarray], asked: tuple[np.ndarray, np.ndarray]) -> float:
    """Perplexity of a classifier that predicts words from states; each argument is states (n, width) and words (n,)."""
    model, (states, words) = classifier(*learned, strength=1), asked
    known = np.isin(words, model.classes_)
    logits = model.predict_log_proba(states[known])
    places = np.searchsorted(model.classes_, words[known])
    return float(np.exp(-logits[np.arange(len(places)), places].mean()))


def timed(work: Callable[[], Any], jobs: int) -> tuple[float, float]:
    """Seconds of `work` by the clock and by the processor, while `jobs` other threads keep Python busy."""
    stop = Event()

    def busy() -> None:
        while not stop.is_set():
            pass

    others = [Thread(target=busy) for _ in range(jobs)]
    for other in others:
        other.start()
    clock, processor = time.perf_counter(), time.thread_time()
    try:
        work()
        return time.perf_counter() - clock, time.thread_time() - processor
    finally:
        stop.set()
