"""Writes a model card from a run."""


def write_card(result, folder):
    """Write the model card of the run that `result` records as README.md in `folder`."""
