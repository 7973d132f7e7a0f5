"""Four parameter-efficient ways to fine-tune a small encoder, trained, measured and compared alike."""

import logging

__version__ = "1.0.0"

# On a CPU, bitsandbytes recommends at every import a package that would ask the hub for a kernel.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
