"""Where a step's time goes: every part is found where it is at work, and nowhere else."""

from types import SimpleNamespace

import pytest
from small import ADAPTER, FULL, HEAD, QUANTISED

from course_utils.comparison.step_parts import ATTENTION, EMBEDDINGS, FOUR_BITS, OPTIMISER, PARTS, time_by_part
from course_utils.config import load_experiment

SMALL = {"max_train": 60, "max_validation": 40, "max_test": 50, "max_other": 20}


@pytest.mark.slow
def test_parts_are_found_where_a_method_has_them(runs_in, tiny):
    experiment = load_experiment("smoke", SMALL | {"base_model": tiny.name})
    firsts = [SimpleNamespace(config=experiment.config(name)) for name in (HEAD, FULL, ADAPTER, QUANTISED)]
    found = time_by_part.__wrapped__(SimpleNamespace(first_of_each=lambda: firsts))["ms"]
    for own in found.values():
        assert [*own] == [*PARTS] and all(ms >= 0 for ms in own.values()) and own[ATTENTION] > 0
    assert found[FULL][OPTIMISER] > found[ADAPTER][OPTIMISER] > 0
    assert found[FULL][EMBEDDINGS] > found[ADAPTER][EMBEDDINGS] and HEAD not in found
    assert found[QUANTISED][FOUR_BITS] > 0 == found[FULL][FOUR_BITS]
