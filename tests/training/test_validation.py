"""The validation after each epoch."""

from small import ADAPTER

from course_utils.config import load_experiment
from course_utils.methods import METHODS
from course_utils.training.trainer import adapted_model, make_trainer


def test_a_batch_of_it_holds_no_more_tokens_than_are_computed_at_once(tiny, tmp_path):
    settings = {"base_model": tiny.name, "methods": [ADAPTER], "precision": "fp32", "max_validation": 50}
    config, sizes = load_experiment("smoke", settings | {"tokens_at_once": 128}).config(ADAPTER), []
    base = METHODS[ADAPTER].load_base(tiny, config.load_task(), config.precision, config.settings)
    model = adapted_model(config, base)
    trainer = make_trainer(config, model, tiny.tokenizer(), config.load_data(), tmp_path)

    def note(module, arguments, named):
        sizes.append(named["input_ids"].numel())

    model.register_forward_pre_hook(note, with_kwargs=True)
    found = trainer.evaluate()
    assert found["eval_n"] == 50 and len(sizes) > 2 and max(sizes) <= 128
