"""The training loop in the open: chapter 02's is the package's copy, and trains what the package trains."""

import ast

import nbformat
import numpy as np
import pytest
from small import ADAPTER
from transformers import set_seed

from course_utils.config import differing_settings, load_experiment
from course_utils.inputs.nf4 import as_linear
from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.report import loop
from course_utils.training import card
from course_utils.training.train import train

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


def test_without_dropout_the_loop_gives_the_losses_and_answers_of_the_package(chapter, still, runs_in):
    own = {"base_model": still.name, "epochs": 2, "dropout": 0.0, "precision": "fp32", "methods": [ADAPTER]}
    config = load_experiment("smoke", own | {"learning_rate": "1e-2"}).config(ADAPTER)
    exec(ast.unparse(chapter["LoraLinear"]), made := {"torch": loop.torch})
    layer, settings = made["LoraLinear"], config.settings

    start = config.base.load(config.load_task())
    config.load_task().initialise_head(start, config.seed)
    model = loop.swap_layers(start, config, lambda old: layer(as_linear(old), settings.rank, settings.alpha))
    set_seed(config.seed)
    library = METHODS[ADAPTER].adapt(config.base.load(config.load_task()), settings)
    theirs = [module for module in library.modules() if hasattr(module, "lora_A")]
    ours = [module for module in model.modules() if isinstance(module, layer)]
    for mine, other in zip(ours, theirs, strict=True):
        mine.A.data = other.lora_A["default"].weight.data.clone()

    data = config.load_data()
    losses, run = loop.fit(model, config, data), train(config)
    assert all(module.B.abs().max() > 1e-3 for module in ours)  # it was trained
    np.testing.assert_allclose(losses, run.history()["loss"], atol=1e-3)
    recorded = run.predictions().query("set == 'test'")
    given = loop.answers(model, config, data.sets["test"])
    assert (given != np.stack(recorded["scores"]).argmax(axis=1)).mean() <= 0.01


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
