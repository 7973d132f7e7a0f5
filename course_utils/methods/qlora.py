"""QLoRA: LoRA on a base whose frozen weights are kept in 4 bits (Dettmers et al. 2023, section 3).

The code for four bits is in `base.py` and `course_utils.inputs.nf4`: other methods use four bits by a setting.
"""

from __future__ import annotations

from course_utils.methods.base import Picture
from course_utils.methods.lora import Lora


class Qlora(Lora):
    name = "qlora"
    title = "QLoRA"
    citation = "dettmers2023qlora"
    equation = r"\mathrm{dequant}(\mathrm{NF4}(W_0)) + s\,BA"
    description = (
        "LoRA on frozen weights that are stored as 4-bit NormalFloat with double quantisation "
        "and dequantised when they are used."
    )
    marker = "D"
    color = "#cc79a7"
    control = "lora"
    picture = Picture(four_bit=True)
    four_bit_base = True
    relative_cost = 1.1


METHOD = Qlora()
