"""The workflow's step `measure`: all that chapter 06 needs beside the records of the runs."""

from __future__ import annotations

from course_utils.audit.audit import audits_of_runs
from course_utils.comparison.arithmetic import work_by_method
from course_utils.comparison.controls import quantised_base
from course_utils.comparison.evaluation_costs import memory_of_first_runs, times_of_first_runs
from course_utils.comparison.measurements import mark_as_up_to_date
from course_utils.comparison.sparsity import sized_ways
from course_utils.comparison.tables import read_runs
from course_utils.config import Experiment

# Memory comes first, before another step loads a model: freed memory is not all given back, and would be used again.
MEASUREMENTS = (
    memory_of_first_runs,
    audits_of_runs,
    times_of_first_runs,
    sized_ways,
    quantised_base,
    work_by_method,
)


def measure(experiment: Experiment) -> None:
    """Measure, and keep, what was not yet measured of the runs of `experiment`."""
    results = read_runs(experiment)
    for find in MEASUREMENTS:
        find(results)
    mark_as_up_to_date(results)
