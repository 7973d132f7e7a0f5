"""The training loop that chapter 02 writes out, for later chapters, and what these chapters show of it.

A test checks that the functions here and those of the chapter are the same.
"""

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, get_linear_schedule_with_warmup

from course_utils.config import differing_settings
from course_utils.inputs import bases
from course_utils.report import plots
from course_utils.report.display import show_figure, show_markdown, show_table
from course_utils.tasks.classification import scores_of
from course_utils.training import evaluation
from course_utils.training.trainer import GroupedByLength, warmup_steps


def swap_layers(model, config, make_layer):
    """Freeze `model`, and put `make_layer(layer)` in the place of every layer that is adapted."""
    model.requires_grad_(False)
    names = bases.target_modules(model, config.settings.target_modules)
    endings = tuple(f".{name}" for name in names)
    for name in [name for name, _ in model.named_modules() if name.endswith(endings)]:
        parent, _, own_name = name.rpartition(".")
        setattr(model.get_submodule(parent), own_name, make_layer(model.get_submodule(name)))
    for head in bases.head_modules(model):
        model.get_submodule(head).requires_grad_(True)
    return model


def fit(model, config, data, own_rates=None, after_step=None):
    """Train `model` as `config` says, and return the loss of every step.

    `own_rates` maps a parameter to its learning rate where that is not the run's.
    """
    tokenizer, settings = config.base.tokenizer(), config.settings
    train, longest = data.sets["train"], config.max_length
    texts = config.load_task().tokenize(train, tokenizer, longest, config.truncation)
    order = GroupedByLength(texts["length"], config.batch_size, config.seed)
    collate = DataCollatorWithPadding(tokenizer)  # fills every sentence up to the longest of its batch
    texts = texts.remove_columns("length")
    batches = DataLoader(texts, config.batch_size, sampler=order, collate_fn=collate)

    trained = [p for p in model.parameters() if p.requires_grad]
    rates = dict.fromkeys(trained, settings.learning_rate) | (own_rates or {})
    decays = {p: settings.weight_decay if p.dim() > 1 else 0.0 for p in trained}
    groups = [{"params": [p], "lr": rates[p], "weight_decay": decays[p]} for p in trained]
    optimizer = torch.optim.AdamW(groups)
    steps = config.epochs * len(batches)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup_steps(config, steps), steps)

    losses: list[float] = []
    device = trained[0].device
    model.train()
    for epoch in range(config.epochs):
        order.set_epoch(epoch)
        for batch in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                loss = model(**batch.to(device)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, max_norm=1.0)
            optimizer.step()
            if after_step:
                after_step(len(losses))
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses


def answers(model, config, frame):
    """Labels (n,) that `model` gives to the texts of `frame`."""
    return evaluation.predict(config, model, config.base.tokenizer(), frame).argmax(axis=1)


def show_beside_package(run, losses, given):
    """Set a training by hand beside the package's `run` of the same seed and size.

    `losses` are those of its steps, `given` (n,) the labels that it gives to the texts of the test set.
    """
    history = run.history()
    ends = history["step"].astype(int).tolist()
    ours = [np.mean(losses[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    curves = pd.DataFrame({"written here": ours, "the package's": history["loss"].tolist()}, index=ends)
    last = curves.iloc[-1]
    show_figure(
        plots.loss_curves(curves, f"Our loop ends at a loss of {last.iloc[0]:.2f}, the package at {last.iloc[1]:.2f}"),
        "Training loss of the loop of this chapter and of the package's run of the same seed and size; each point is "
        "the mean loss since the previous point.",
        f"Two lines over {ends[-1]} steps: ours from {ours[0]:.2f} to {ours[-1]:.2f}, the package's from "
        f"{history.loss.iloc[0]:.2f} to {history.loss.iloc[-1]:.2f}.",
    )
    tested = run.predictions().query("set == 'test'")
    labels = tested["label"].to_numpy()
    right, theirs = given == labels, scores_of(tested).argmax(axis=1) == labels
    one_right, n = int((right != theirs).sum()), len(labels)
    usual, apart = 1.96 * one_right**0.5, abs(int(right.sum()) - int(theirs.sum()))
    verdict = "which is more" if apart > usual else "which is not more"
    show_markdown(
        f"On {n:,} texts of the set *{run.result.data.titles['test']}* our model is right on {right.sum():,} "
        f"({right.mean():.1%}), the package's run on {theirs.sum():,} ({theirs.mean():.1%}). On {one_right:,} texts "
        "exactly one of the two is right. If chance alone decided which one, the two numbers of right answers would "
        f"lie up to {usual:.0f} apart in 95 of 100 cases. They lie {apart} apart, {verdict}. The range counts the luck "
        "of the texts alone. Other dropout masks make two trainings differ as two seeds do: they may lie farther apart."
    )


def show_side_by_side(run, other):
    """Two runs in two columns: the settings in which they differ, and what each came to."""
    rows = {
        name: [str(value) for value in values] for name, values in differing_settings(run.config, other.config).items()
    }
    results = [each.result for each in (run, other)]
    rows["trained and kept outside the head"] = [f"{result.parameters.adapter:,}" for result in results]
    rows["last training loss"] = [f"{each.history()['loss'].iloc[-1]:.3f}" for each in (run, other)]
    rows["right on the test set"] = [f"{result.metrics['test'].accuracy:.1%}" for result in results]
    rows["seconds in training steps"] = [f"{result.timing.train_seconds:.0f}" for result in results]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["as it was", "changed"]).rename_axis("what")
    show_table(table, "Two runs of the same seed, and what differs between them.")
