"""The machine as the project sees it."""

import pytest
from small import two_gpus

from course_utils import host


@pytest.mark.parametrize(
    ("chosen", "visible"),
    [("-1", ()), ("", ()), ("NoDevFiles", ()), ("1,-1,0", ("1",)), ("0, 1", ("0", "1")), ("GPU-8932", ("GPU-8932",))],
)
def test_gpus_are_visible_as_cuda_reads_its_variable(tmp_path, monkeypatch, chosen, visible):
    monkeypatch.setenv("PATH", f"{two_gpus(tmp_path)}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    host.visible_gpus.cache_clear()
    assert host.visible_gpus() == visible
    monkeypatch.undo()
    host.visible_gpus.cache_clear()
