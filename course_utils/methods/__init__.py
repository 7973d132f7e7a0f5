"""The methods that can be compared, in the order of every table: each is one module, and one line here."""

from course_utils.methods import dora, full, head, hira, lora, qlora, sparse_lora
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
        dora,
    )
}
FLOOR, CEILING = (next(m for m in METHODS.values() if m.baseline == kind) for kind in ("floor", "ceiling"))
PLAIN = next(METHODS[method.control] for method in METHODS.values() if method.control)  # what the others vary
