"""The training loop in the open: chapter 02's is the package's copy, and trains what the package trains."""

import ast
import re
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from small import ADAPTER, GATED, MULTIPLIED, QUANTISED

from course_utils.config import differing_settings, load_experiment
from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.report import loop
from course_utils.runs import load_model
from course_utils.training import card
from course_utils.training.train import train
from course_utils.training.trainer import adapted_model

SHOWN = ("swap_layers", "fit", "answers")


def definitions(source):
    """Name → definition, of the functions and classes that `source` defines."""
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.fixture(scope="module")
def chapter():
    """What chapter 02 defines."""
    cells = nbformat.read(PROJECT / "notebooks" / "02_lora.ipynb", as_version=4).cells
    return definitions("\n".join(cell.source for cell in cells if cell.cell_type == "code"))


def test_the_package_has_the_loop_that_the_chapter_shows(chapter):
    package = definitions((PROJECT / "course_utils" / "report" / "loop.py").read_text("utf-8"))
    for name in SHOWN:
        assert ast.dump(package[name]) == ast.dump(chapter[name]), f"{name} differs between loop.py and 02_lora.ipynb"


def executed(notebook, method, config, until):
    """The names of a chapter after its own layer and the cells of its training, up to the first that holds `until`."""
    cells = nbformat.read(PROJECT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    imports = next(source for source in code if "\nexperiment = load" in source).partition("\nexperiment = load")[0]
    layer = next(source for source in code if re.match(r"class \w+Linear\(", source))
    first = next(n for n, source in enumerate(code) if source.startswith("small = "))
    last = next(n for n, source in enumerate(code) if n >= first and until in source)
    names = {"experiment": SimpleNamespace(small=lambda *_: config), "seed": config.seed, "method": METHODS[method]}
    names |= {name: getattr(loop, name) for name in SHOWN}
    exec("\n".join([imports, layer, *code[first : last + 1]]), names)
    return names


def without_dropout(base, method, **own):
    """A small run of `method` in 32 bits that draws no random number after its start."""
    settings = {"base_model": base.name, "epochs": 2, "precision": "fp32", "methods": [method]}
    if method != MULTIPLIED:  # which has none
        settings["dropout"] = 0.0
    return load_experiment("smoke", settings | {"learning_rate": "1e-2"} | own).config(method)


@pytest.mark.parametrize(("notebook", "method", "until", "layers"), [
    ("02_lora", ADAPTER, "def our_lora", lambda names: names["our_lora"]()[1]),
    ("03_sparse_lora", GATED, ".A.data = theirs", lambda names: names["our_layers"]),
    ("04_qlora", QUANTISED, ".A.data = theirs", lambda names: names["our_layers"]),
    ("05_hira", MULTIPLIED, "def our_hira", lambda names: names["our_hira"]()[1]),
])  # fmt: skip
def test_every_chapter_starts_from_the_numbers_of_the_package(still, notebook, method, until, layers):
    config = without_dropout(still, method)
    ours = layers(executed(notebook, method, config, until))
    base = METHODS[method].load_base(config.base, config.load_task(), config.precision, config.settings)
    model = adapted_model(config, base)
    theirs = [value for name, value in model.named_parameters() if re.search(rf"\.({ADAPTER}|{MULTIPLIED})_A\.", name)]
    assert len(ours) == len(theirs) > 1
    assert all(torch.equal(mine.A, other) for mine, other in zip(ours, theirs, strict=True))


def test_without_dropout_the_loop_trains_what_the_package_trains(still, runs_in):
    config = without_dropout(still, ADAPTER)
    model, ours = executed("02_lora", ADAPTER, config, "def our_lora")["our_lora"]()
    data = config.load_data()
    losses, run = loop.fit(model, config, data), train(config)
    np.testing.assert_allclose(losses, run.history()["loss"], atol=1e-3)
    recorded = run.predictions().query("set == 'test'")
    given = loop.answers(model, config, data.sets["test"])
    assert (given != np.stack(recorded["scores"]).argmax(axis=1)).mean() <= 0.01
    updates = METHODS[ADAPTER].delta_weights(load_model(run, merged=False)).values()
    for layer, (_, update) in zip(ours, updates, strict=True):
        assert update.norm() > 1e-3
        torch.testing.assert_close(layer.scale * layer.B @ layer.A, update, rtol=0.01, atol=0.01 * update.abs().max())


def test_without_dropout_the_gates_of_the_chapter_are_those_of_the_package(still, runs_in):
    config = without_dropout(still, GATED, sparsity="1.2")
    made = executed("03_sparse_lora", GATED, config, "losses = fit(")
    run = train(config)
    np.testing.assert_allclose(made["losses"], run.history()["loss"], atol=1e-3)
    recorded = run.predictions().query("set == 'test'")
    assert (made["given"] != np.stack(recorded["scores"]).argmax(axis=1)).mean() <= 0.01
    left, kept = ([int(gates.sum()) for gates in made["open_gates"]], [*run.result.method["ranks"].values()])
    assert all(own >= folded for own, folded in zip(left, kept, strict=True))


def test_the_run_beside_the_loop_is_small_and_one_of_the_experiment_where_that_has_it():
    quick, smoke = load_experiment("quick"), load_experiment("smoke")
    assert quick.small(ADAPTER) == quick.config(ADAPTER, study="size-500") in quick.configs()
    assert quick.small(ADAPTER, seed=1).max_train == 500 and smoke.small(ADAPTER) == smoke.config(ADAPTER)
    assert load_experiment("full").small(ADAPTER) == load_experiment("full").config(ADAPTER, study="size-500")
    other = load_experiment("five").small(ADAPTER)
    assert other.max_train == 500 and other.study == "main"
    assert "--profile five -p max_train=500 --method" in card.command(other)


@pytest.mark.parametrize("profile", ["quick", "full", "five", "smoke"])
def test_a_changed_run_differs_from_the_run_beside_it_in_the_change_alone(profile):
    experiment = load_experiment(profile, {"max_test": 600})
    beside, changed = experiment.small(ADAPTER), experiment.small(ADAPTER, change={"rank": 1})
    assert [*differing_settings(beside, changed)] == ["rank"]
