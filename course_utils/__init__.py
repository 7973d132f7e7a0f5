"""Four parameter-efficient ways to fine-tune a small encoder, trained, measured and compared alike."""

__version__ = "1.0.0"
