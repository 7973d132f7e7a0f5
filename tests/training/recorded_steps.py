"""python tests/training/recorded_steps.py FAMILY: how far gradients of recorded steps are from those of plain ones."""

import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForSequenceClassification

from course_utils.training.recorded_steps import RecordedSteps

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "dim": 64, "hidden_dim": 128, "n_layers": 2, "n_heads": 4}
OUT = ("dropout", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob", "seq_classif_dropout")
LENGTHS = [5, 9, 14, 5, 9, 7, 14, 30, 30, 29, 12, 3]


def largest_difference(family: str, adapt: bool) -> float:
    """The largest difference of two gradients, as a share of the largest gradient, over batches of many lengths."""
    torch.manual_seed(0)
    asked = {"vocab_size": 100, "pad_token_id": 0, "num_labels": 3} | SIZES | dict.fromkeys(OUT, 0.0)
    known = AutoConfig.for_model(family)
    config = AutoConfig.for_model(family, **{name: value for name, value in asked.items() if hasattr(known, name)})
    model = AutoModelForSequenceClassification.from_config(config)
    if adapt:
        targets = next(
            t for t in (["query"], ["q_lin"], ["q_proj"]) if any(t[0] in n for n, _ in model.named_modules())
        )
        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=targets, init_lora_weights=False))
    model = model.cuda().train()
    recorded, worst = RecordedSteps(model, longest=29), 0.0

    def step(inputs: dict) -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(**inputs).loss
        loss.backward()
        return loss.detach()

    def result(run) -> list[torch.Tensor]:
        model.zero_grad()
        loss = run(batch)
        return [loss.clone(), *(p.grad.clone() for p in model.parameters() if p.requires_grad)]

    for tokens in LENGTHS:
        ids = torch.randint(3, 100, (4, tokens))
        mask = torch.ones_like(ids)
        for row, padding in enumerate((0, 1, 0, 2)):
            ids[row, tokens - padding :], mask[row, tokens - padding :] = 0, 0
        batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.randint(3, (4,))}
        plain = result(lambda on_cpu: step({name: x.cuda() for name, x in on_cpu.items()}))
        again = result(lambda on_cpu: recorded(step, on_cpu))
        size = max(gradient.abs().max() for gradient in plain)
        worst = max(worst, *(((a - b).abs().max() / size).item() for a, b in zip(plain, again, strict=True)))
    assert sum(found is not None for found in recorded.recordings.values()) >= 3, "nothing was recorded"
    return worst


if __name__ == "__main__":
    print(*(largest_difference(sys.argv[1], adapt) for adapt in (False, True)))
