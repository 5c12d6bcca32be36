"""Hostile files on PyTorch, and those that torch itself writes."""

import os

import pytest
import torch

from tests.suites.hostile import HostileSuite, refused


class TestHostile(HostileSuite):
    backend = "torch"


class Call:
    def __reduce__(self):
        return os.system, ("touch canary",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("hide", [lambda c: c, lambda c: {"state_dict": {"w": torch.ones(2), "x": [c]}}])
def test_a_call_that_torch_pickled(tmp_path, monkeypatch, hide, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save(hide(Call()), "x.pth", _use_new_zipfile_serialization=zipped)
    message = refused("tiny", weights=str(tmp_path / "x.pth"), backend="torch")
    assert "system, which no weights file needs" in message
    assert not (tmp_path / "canary").exists()


def test_a_whole_module_and_a_torchscript_archive(tmp_path):
    layer = torch.nn.Linear(2, 3)
    torch.save(layer, tmp_path / "x.pth")
    torch.jit.script(layer).save(str(tmp_path / "y.pt"))
    assert "torch.nn.modules.linear.Linear" in refused("tiny", weights=str(tmp_path / "x.pth"), backend="torch")
    assert "TorchScript" in refused("tiny", weights=str(tmp_path / "y.pt"), backend="torch")
