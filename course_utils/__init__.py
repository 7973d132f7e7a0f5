"""Four parameter-efficient ways to fine-tune a small encoder, trained, measured and compared alike."""

import logging
import os

__version__ = "1.0.0"

# A kernel is kept for every shape of matrices, which lengths of sentences make many; these are of two steps or three.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
os.environ.setdefault("LRU_CACHE_CAPACITY", "16")  # and in bf16 PyTorch keeps 1,024 more by itself, with their memory

# Nothing here is compiled, and bitsandbytes would import torch's compiler: two seconds and 45 MB of every process.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

# On a CPU, bitsandbytes recommends at every import a package that would ask the hub for a kernel.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
