"""The report's folder is a crate: every file is there and described, and every reference leads somewhere."""

import json

import pytest
from made_up import write_run
from small import ADAPTER

from course_utils.comparison.results import read_runs
from course_utils.comparison.tables import write_comparison
from course_utils.config import load_experiment
from course_utils.report.crate import METADATA, WORKFLOW, write_crate


def references(value):
    if isinstance(value, dict):
        yield from [value["@id"]] if value.keys() == {"@id"} else references([*value.values()])
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


@pytest.fixture
def crate(runs_in, reports_in):
    experiment = load_experiment("smoke", {"rank": "4"})
    write_run(experiment.config(ADAPTER), 0.8)
    results = read_runs(experiment)
    write_comparison(results)
    path = write_crate(results)
    return path.parent, json.loads(path.read_text("utf-8"))["@graph"]


def test_what_it_describes_is_there_and_what_it_refers_to_is_described(crate):
    folder, graph = crate
    entities = {entity["@id"]: entity for entity in graph}
    assert len(entities) == len(graph)
    for name, entity in entities.items():
        if "File" in entity["@type"]:
            assert (folder / name).is_file(), name
    assert {"comparison.csv", WORKFLOW} <= entities.keys() and "report.pdf" not in entities
    outside = {name for name in references(graph) if name not in entities}
    assert all(name.startswith("https://") for name in outside), outside


def test_it_says_what_was_run_and_how(crate):
    """As the profile of a Workflow Run Crate demands: the action's instrument is the crate's main workflow."""
    folder, graph = crate
    entities = {entity["@id"]: entity for entity in graph}
    root, run = entities["./"], entities["#run"]
    assert run["instrument"] == root["mainEntity"] == {"@id": WORKFLOW} and root["mentions"] == {"@id": "#run"}
    assert entities[METADATA]["about"] == {"@id": "./"}
    assert "./run_all.sh --profile smoke -p rank=4" in run["description"]
    assert {value["name"]: value["value"] for value in graph if value["@type"] == "PropertyValue"}["epochs"] == "1"
    assert {"@id": "comparison.csv"} in run["result"]
