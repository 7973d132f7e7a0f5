"""The machine as the project sees it."""

import pytest

from course_utils import host


@pytest.mark.parametrize(
    ("chosen", "visible"),
    [("-1", ()), ("", ()), ("NoDevFiles", ()), ("1,-1,0", ("1",)), ("0, 1", ("0", "1")), ("GPU-8932", ("GPU-8932",))],
)
def test_gpus_are_visible_as_cuda_reads_its_variable(tmp_path, monkeypatch, chosen, visible):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf 'GPU 0: H100\\nGPU 1: H100\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    host.visible_gpus.cache_clear()
    assert host.visible_gpus() == visible
    monkeypatch.undo()
    host.visible_gpus.cache_clear()
