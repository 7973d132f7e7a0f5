"""Where a step's time goes: every part is found where it is at work, and nowhere else."""

from types import SimpleNamespace

import pytest
from small import ADAPTER, FEW, FULL, HEAD, QUANTISED

from course_utils.comparison import energy
from course_utils.comparison.step_parts import ATTENTION, EMBEDDINGS, FOUR_BITS, OPTIMISER, PARTS, time_by_part
from course_utils.config import load_experiment


@pytest.fixture
def counter(tmp_path, monkeypatch):
    """Set the counter of a made-up processor to a number of microjoules."""
    monkeypatch.setattr(energy, "COUNTERS", tmp_path / "powercap")

    def stands_at(microjoules: int, of: int, zone: str = "package-0"):
        folder = tmp_path / "powercap" / f"intel-rapl:{zone[-1]}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in (("name", zone), ("energy_uj", microjoules), ("max_energy_range_uj", of)):
            (folder / name).write_text(f"{value}\n")

    return stands_at


def test_energy_is_counted_over_the_end_of_a_counter_and_of_processors_alone(counter):
    assert energy.joules_of(lambda: None) is None  # no counter
    counter(9_000_000, of=10_000_000)
    counter(0, of=10_000_000, zone="psys-1")  # which counts the processor once more

    def work():
        counter(2_500_000, of=10_000_000)
        counter(8_000_000, of=10_000_000, zone="psys-1")

    assert energy.joules_of(work) == 3.5


@pytest.mark.slow
def test_parts_are_found_where_a_method_has_them(runs_in, tiny, counter):
    experiment = load_experiment("smoke", FEW | {"base_model": tiny.name})
    firsts = [SimpleNamespace(config=experiment.config(name)) for name in (HEAD, FULL, ADAPTER, QUANTISED)]
    counter(0, of=1)
    measured = time_by_part.__wrapped__(SimpleNamespace(first_of_each=lambda: firsts))
    found = measured["ms"]
    assert measured["joules"] == {}  # the counter stands still
    for own in found.values():
        assert [*own] == [*PARTS] and all(ms >= 0 for ms in own.values()) and own[ATTENTION] > 0
    assert found[FULL][OPTIMISER] > found[ADAPTER][OPTIMISER] > 0
    assert found[FULL][EMBEDDINGS] > found[ADAPTER][EMBEDDINGS] and HEAD not in found
    assert found[QUANTISED][FOUR_BITS] > 0 == found[FULL][FOUR_BITS]
