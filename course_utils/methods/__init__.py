"""The methods that are compared, in the order of every table: one module each, one line each here."""

from course_utils.methods import full, head, hira, lora, qlora, sparse_lora
from course_utils.methods.base import Method

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (
        head,
        full,
        lora,
        sparse_lora,
        qlora,
        hira,
    )
}
