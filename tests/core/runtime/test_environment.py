"""What a process that loads a backend of its own inherits."""

import os

from xfer.runtime.environment import of_backend


def test_the_engine_of_keras_and_the_place_among_processes_are_left_out(monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "somewhere")
    others = dict(os.environ)
    for name in (left_out := ("KERAS_BACKEND", "RANK", "LOCAL_RANK", "WORLD_SIZE", "TF_CONFIG")):
        monkeypatch.setenv(name, "1")
    assert of_backend() == {name: value for name, value in others.items() if name not in left_out}
