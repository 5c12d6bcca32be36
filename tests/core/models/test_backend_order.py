"""Which backend is loaded where none is named."""

import pytest

from xfer.errors import BackendError
from xfer.models import backend as module


@pytest.mark.parametrize(
    ("installed", "preferred", "expected"),
    [
        ({"torch", "tensorflow", "jax", "another"}, None, "torch"),
        ({"tensorflow", "jax", "another"}, None, "tensorflow"),
        ({"jax", "another"}, None, "jax"),
        ({"another"}, None, "another"),
        ({"torch", "jax"}, "jax", "jax"),
        ({"torch", "jax"}, "tensorflow", "torch"),
    ],
)
def test_the_preferred_one_else_the_first_that_is_installed(monkeypatch, installed, preferred, expected):
    def get(name):
        if name not in installed:
            raise BackendError(f"{name} is not here")
        return name

    monkeypatch.setattr(module, "registered", lambda: dict.fromkeys(("another", "jax", "tensorflow", "torch")))
    monkeypatch.setattr(module, "get_backend", get)
    assert module.any_backend(None, preferred) == expected


def test_none_is_installed(monkeypatch):
    monkeypatch.setattr(module, "registered", dict)
    with pytest.raises(BackendError, match=r'pip install "xfer-learn\[torch\]"'):
        module.any_backend()
