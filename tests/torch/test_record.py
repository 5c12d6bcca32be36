"""What a recorder of PyTorch refuses, in one line."""

import pytest
import torch
from torch import nn

import xfer
from xfer.errors import UsageError


def test_a_module_after_compile(tmp_path):
    with pytest.raises(UsageError, match=r"record the module before torch.compile"):
        xfer.record(torch.compile(nn.Linear(3, 2)), out=tmp_path)


def test_an_optimizer_of_another_kind(tmp_path):
    with pytest.raises(UsageError, match=r"optimizer is a str: give the torch.optim.Optimizer of the loop"):
        xfer.record(nn.Linear(3, 2), "sgd", tmp_path)


def test_what_is_no_module(tmp_path):
    with pytest.raises(UsageError, match=r"cannot record a function: give a torch.nn.Module or a keras.Model"):
        xfer.record(lambda x: x, out=tmp_path)
