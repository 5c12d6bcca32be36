"""The environment of a process that loads a backend of its own."""

from __future__ import annotations

import os

_OF_THIS_PROCESS = ("KERAS_BACKEND", "RANK", "LOCAL_RANK", "WORLD_SIZE", "TF_CONFIG")


def of_backend() -> dict[str, str]:
    """This process's environment, without the engine of Keras that was chosen for it, and its place among others."""
    return {name: value for name, value in os.environ.items() if name not in _OF_THIS_PROCESS}
