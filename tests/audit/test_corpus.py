"""The corpus: no truthful card is refuted, and the lies of every kind are found."""
# ruff: noqa: E501  (cards are long lines)

import pytest
from corpus import judged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_utils.audit.audit import audit_card
from course_utils.audit.findings import REFUTED


@pytest.mark.slow
def test_no_truth_is_refuted_and_the_lies_are_found(tmp_path):
    found = list(judged(tmp_path, 64))
    assert len(found) == 64
    assert not [(of, true) for _, true, _, of, _ in found if true]
    assert sum(bool(lying) for _, _, lying, _, _ in found) >= 0.95 * len(found)


LABELS = {
    "Total parameters": ["- **Total Parameters:** {}", "Total params: {}", "| Total parameters | {} |", "* All params = {}"],
    "Trainable": ["- **Trainable Parameters:** {}", "Trainable params: {}", "- Number of trainable parameters: {}"],
    "Rank": ["- Rank (r): {}", "* LoRA rank: {}", "| r | {} |", "- **秩 (r)：** {}"],
    "Targets": ["- Target modules: `q_lin`, `v_lin`", "- **Target Modules**: q_lin and v_lin", "* target_modules: ['q_lin', 'v_lin']"],
}  # fmt: skip
PRINTED = ["{:,}", "{}", lambda n: f"{n:,}".replace(",", " "), lambda n: f"{n:,}".replace(",", "."), lambda n: f"{n / 1e6:.2f}M"]  # fmt: skip
TRUE = [  # of distilbert-base-uncased on q_lin and v_lin, by rank
    (8, 739_586, 67_694_596), (8, 739_586, 67_102_466), (16, 887_042, 67_842_052), (4, 665_858, 67_620_868),
]  # fmt: skip
SCORES = [
    "- SST-2 validation accuracy: 0.9220", "- Accuracy: 92,2 %", "- **Accuracy:** 0.91 ± 0.02", "Accuracy: 93.1%",
    "| Epoch | Accuracy |\n|---|---|\n| 1 | 0.7 |\n| 2 | 0.8 |", "It has an accuracy of 0.9037 on SST-2.",
    "- Accuracy: 0.8733 (131/150)", "- Accuracy: [More Information Needed]", "- Perplexity: 12.3",
    "| Model | Accuracy |\n|---|---|\n| BERT | 0.9999 |\n| this adapter | 0.9106 |", "Average accuracy of 5 runs: 0.92213",
]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_wording_makes_a_truth_false(tmp_path, data):
    rank, trainable, total = data.draw(st.sampled_from(TRUE))

    def worded(name, value):
        way = data.draw(st.sampled_from(PRINTED)) if value > 1000 else "{}"
        printed = way(value) if callable(way) else way.format(value)
        return data.draw(st.sampled_from(LABELS[name])).format(printed)

    lines = [worded("Total parameters", total), worded("Trainable", trainable), worded("Rank", rank)]
    lines += [data.draw(st.sampled_from(LABELS["Targets"])), *data.draw(st.lists(st.sampled_from(SCORES), max_size=3))]
    text = "\n\n".join(data.draw(st.permutations(lines)))
    (tmp_path / "README.md").write_text(
        f"---\nbase_model: distilbert-base-uncased\nlibrary_name: peft\ndatasets: [sst2]\n---\n# An adapter\n\n{text}\n"
    )
    assert not [finding for finding in audit_card(tmp_path) if finding.verdict == REFUTED]
