"""Four parameter-efficient ways to fine-tune a small encoder, trained, measured and compared alike."""

import logging
import os

__version__ = "1.0.0"

# A kernel is kept for every shape of matrices, which lengths of sentences make many; these are of two steps or three.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

# On a CPU, bitsandbytes recommends at every import a package that would ask the hub for a kernel.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
