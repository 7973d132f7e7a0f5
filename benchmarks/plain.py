"""What a user would write instead: a plain Trainer + PEFT script, with the libraries' defaults.

python -m benchmarks.plain SEED FILE trains LoRA at the quick profile's settings and writes its test predictions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from course_utils.config import RunConfig, load_experiment
from course_utils.methods import PLAIN


def plain_trainer(config: RunConfig, data, output: str, **arguments) -> Trainer:
    """The script's trainer for a run of `config`, LoRA or full: 32 bits, batches padded to their longest, random order.

    `arguments` are further ones of TrainingArguments.
    """
    location = config.base.location
    tokenizer = AutoTokenizer.from_pretrained(location)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    set_seed(config.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        location, num_labels=2, pad_token_id=tokenizer.pad_token_id, dtype="float32"
    )
    if config.method == PLAIN.name:
        adapter = LoraConfig(
            task_type="SEQ_CLS",
            r=config.settings.rank,
            lora_alpha=config.settings.alpha,
            lora_dropout=config.settings.dropout,
            target_modules=["q_lin", "v_lin"] if model.config.model_type == "distilbert" else None,
        )
        model = get_peft_model(model, adapter)
    return Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=output,
            seed=config.seed,
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            learning_rate=config.settings.learning_rate,
            weight_decay=config.settings.weight_decay,
            warmup_steps=config.warmup_steps,
            save_strategy="no",
            disable_tqdm=True,
            **arguments,
        ),
        train_dataset=config.load_task().tokenize(data.sets["train"], tokenizer, config.max_length),
        data_collator=DataCollatorWithPadding(tokenizer),
    )


def main(seed: int, file: Path) -> None:
    """Train with `seed` and write the labels that are predicted for the test set to `file` (.npy)."""
    config = load_experiment("quick").config(PLAIN.name, seed)
    data = config.load_data()
    trainer = plain_trainer(config, data, str(file.with_suffix("")))
    trainer.train()
    test = config.load_task().tokenize(data.sets["test"], trainer.data_collator.tokenizer, config.max_length)
    np.save(file, trainer.predict(test).predictions.argmax(1))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
