"""The environment of a process that loads a backend of its own."""

from __future__ import annotations

import os


def of_backend() -> dict[str, str]:
    """This process's environment, without the engine of Keras that was chosen for it: the backend chooses its own."""
    return {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
