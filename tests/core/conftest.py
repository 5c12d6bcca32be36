"""A hub on loopback for the tests of the core."""

import pytest

from tests.suites.hub import serve


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that is up, an empty cache, and nobody logged in; huggingface_hub reads some of its variables on import."""
    from huggingface_hub import constants

    with serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
        for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "nobody"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
        yield server
