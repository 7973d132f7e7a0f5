"""The exhibits of the comparison hold where a method changed nothing."""

from types import SimpleNamespace

import pytest
import torch
from small import ADAPTER, FULL, GATED

from course_utils.comparison import weights
from course_utils.report import exhibits


@pytest.fixture
def shown(monkeypatch):
    """The captions of what is shown."""
    captions = []
    monkeypatch.setattr(exhibits, "show_figure", lambda figure, caption, alt: captions.append(caption))
    monkeypatch.setattr(exhibits, "show_markdown", captions.append)
    return captions


def test_a_method_whose_gates_are_all_shut_is_left_out_of_the_weights(shown, monkeypatch):
    random = torch.Generator().manual_seed(0)
    changes = [torch.randn(8, 12, generator=random) for _ in range(3)]
    deltas = {ADAPTER: changes[0], FULL: changes[1], GATED: torch.zeros(8, 12)}
    # a "run" is what it changed
    monkeypatch.setattr(weights, "run_deltas", lambda run: {"layer.0.query": (torch.ones(8, 12), run.changed)})
    runs = {
        name: [SimpleNamespace(changed=delta, method=name, config=SimpleNamespace(method=name, seed=0))]
        for name, delta in deltas.items()
    }
    runs[ADAPTER].append(SimpleNamespace(changed=changes[2], config=SimpleNamespace(method=ADAPTER, seed=1)))
    exhibits.weight_changes(SimpleNamespace(experiment=SimpleNamespace(methods=list(deltas)), of=runs.get))
    assert len(shown) == 4 and "Full fine-tuning" in shown[-1] and "another seed" in shown[-1]
