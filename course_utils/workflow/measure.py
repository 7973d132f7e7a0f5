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


def measure(experiment: Experiment) -> None:
    """Measure, and keep, what was not yet measured of the runs of `experiment`."""
    results = read_runs(experiment)
    # First, before another step loads a model: freed memory is not all given back, and would be used again.
    memory_of_first_runs(results)
    audits_of_runs(results)
    times_of_first_runs(results)
    sized_ways(results)
    quantised_base(results)
    work_by_method(results)
    mark_as_up_to_date(results)
