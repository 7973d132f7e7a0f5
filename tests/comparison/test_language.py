"""The comparison of language models writes its numbers as chapter 06 does."""

from types import SimpleNamespace

from small import ADAPTER, FULL

from course_utils.comparison.language import pairs_table
from course_utils.stats import Interval


def test_no_p_value_reads_as_zero():
    pair = SimpleNamespace(first=FULL, second=ADAPTER, difference=Interval(0.1, 0.0, 0.2), differs=True)
    tables = [pairs_table([SimpleNamespace(**vars(pair), p_holm=p)]) for p in (0.0004, 0.0123)]
    assert [table.loc[0, "p (Holm)"] for table in tables] == ["< 0.001", "0.012"]
