"""Four parameter-efficient ways to fine-tune a small encoder, trained, measured and compared alike."""

import logging
import os

__version__ = "2.0.0"

# oneDNN keeps a kernel for every shape of matrices, and sentence lengths make many shapes: 64 serve two or three steps.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
os.environ.setdefault("LRU_CACHE_CAPACITY", "16")  # in bf16, PyTorch itself keeps 1,024 more kernels and their memory

# What goes wrong with the hub or a file is said in one sentence, and not by the libraries before it.
os.environ.setdefault("HF_HUB_VERBOSITY", "error")
os.environ.setdefault("DATASETS_VERBOSITY", "critical")

# Nothing here is compiled, and bitsandbytes would import torch's compiler: two seconds and 45 MB of every process.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

# On a CPU, bitsandbytes recommends at every import a package that would ask the hub for a kernel.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
