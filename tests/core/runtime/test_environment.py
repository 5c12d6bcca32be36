"""What a process that loads a backend of its own inherits."""

import os

from xfer.runtime.environment import of_backend


def test_the_engine_of_keras_is_left_out(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", "somewhere")
    assert "KERAS_BACKEND" not in of_backend()
    assert of_backend() == {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
