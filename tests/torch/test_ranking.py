"""Ranking networks on backend 'torch'."""

import numpy as np
import pytest
import torch

import xfer
from tests.suites.ranking import RanksNetworks
from xfer.evaluation.logme import logme


class TestTorch(RanksNetworks):
    backend = "torch"


def test_a_wrapped_network_and_a_head_that_reads_every_place(tmp_path):
    """The features of a SqueezeNet are the mean over the places of its map."""
    torch.manual_seed(0)
    body = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    network = torch.nn.Sequential()
    network.add_module("body", body)
    network.add_module("fc", torch.nn.Linear(4, 2))
    wrapped = xfer.wrap(network, backend="torch", head="fc", image_size=40, classes=["a", "b"])
    labels = np.arange(20) % 2
    images = np.random.default_rng(0).integers(0, 256, (20, 40, 40, 3), np.uint8)
    data = xfer.data.arrays(images, labels, val=0)
    options = {"backend": "torch", "image_size": 40, "cache": tmp_path, "progress": False, "precision": "fp32"}
    found = {each.model: each for each in xfer.rank(data, models=[wrapped, "squeezenet1_1:none"], **options).ranked}
    assert found[wrapped.name].features == 4
    squeezenet = xfer.load("squeezenet1_1", backend="torch", weights=None, image_size=40, precision="fp32")
    maps = squeezenet.features(images)
    assert maps.ndim == 3
    assert found["squeezenet1_1:none"].logme == pytest.approx(logme(maps.mean(axis=1), labels), rel=1e-5)
    assert xfer.rank(data, models=[wrapped], **options).command == ""
