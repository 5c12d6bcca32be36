"""Hostile files on PyTorch, and those that torch itself writes."""

import os
from contextlib import suppress

import pytest
import torch

import xfer
from tests.suites.hostile import HostileSuite, refused
from xfer.errors import XferError


class TestHostile(HostileSuite):
    backend = "torch"


class Call:
    def __reduce__(self):
        return os.system, ("touch canary",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("hide", [lambda c: c, lambda c: {"state_dict": {"w": torch.ones(2), "x": [c]}}])
def test_a_call_that_torch_pickled(tmp_path, monkeypatch, capsys, hide, zipped):
    """Alone it is refused by name; beside a tensor it is skipped, and named on stderr."""
    monkeypatch.chdir(tmp_path)
    torch.save(hide(Call()), "x.pth", _use_new_zipfile_serialization=zipped)
    with suppress(XferError):  # so that what refuses it is imported
        xfer.load("tiny", weights=str(tmp_path / "x.pth"), backend="torch")
    message = refused("tiny", weights=str(tmp_path / "x.pth"), backend="torch")
    named = "posix.system, which no weights file needs", "skipped objects beside the tensors: posix.system"
    said = message + capsys.readouterr().err
    assert any(text in said for text in named)
    assert not (tmp_path / "canary").exists()


def test_a_whole_module_and_a_torchscript_archive(tmp_path):
    layer = torch.nn.Linear(2, 3)
    torch.save(layer, tmp_path / "x.pth")
    torch.jit.script(layer).save(str(tmp_path / "y.pt"))
    assert "torch.nn.modules.linear.Linear" in refused("tiny", weights=str(tmp_path / "x.pth"), backend="torch")
    assert "TorchScript" in refused("tiny", weights=str(tmp_path / "y.pt"), backend="torch")
