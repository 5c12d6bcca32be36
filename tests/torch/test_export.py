"""Files of models on torch."""

import json
import runpy

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import xfer
from tests.suites.exporting import CLASSES, Exporting, lively, onnx
from tests.suites.zoo_workflow import SMALLEST, smallest
from xfer.errors import UsageError


class TestExport(Exporting):
    backend = "torch"
    formats = ("torch-export", "onnx")
    quick = ("onnx",)

    def opened(self, format, path):
        if format == "onnx":
            return onnx(path)
        files = {"model.json": ""}
        module = torch.export.load(path, extra_files=files).module()
        names = list(json.loads(files["model.json"])["outputs"])

        def run(**inputs):
            outputs = module(*map(torch.from_numpy, inputs.values()))
            return {name: output.detach().numpy() for name, output in zip(names, outputs, strict=True)}

        return run

    def wrapped(self):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        net.add_module("fc", nn.Linear(4, 3))
        return xfer.wrap(net, backend="torch", head="fc", image_size=16, device="cpu")


@pytest.mark.parametrize("suffix", [".safetensors", pytest.param(".pth", marks=pytest.mark.long)])
def test_torchvision(tmp_path, suffix):
    """The script that is written beside the weights, in this process, without xfer."""
    head = xfer.Head(dropout=0.1) if suffix == ".pth" else xfer.Head((8,), 0.1, "batch")
    options = {"weights": None, "classes": CLASSES, "head": head, "image_size": 32, "precision": "fp32"}
    model = lively(xfer.load("shufflenet_v2_x0_5", backend="torch", device="cpu", **options))
    done = xfer.export(model, tmp_path / f"net{suffix}", to="torchvision")
    images = np.random.default_rng(2).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    z = model.logits(images).astype(float)
    found = runpy.run_path(str(tmp_path / "net.py"))["probabilities"](torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), atol=2e-6, rtol=0)
    assert done.check.runtime.startswith("torchvision")
    assert "xfer" not in (tmp_path / "net.py").read_text()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("efficientnet_lite0", {"classes": 2}, "torchvision has no efficientnet_lite0"),
        ("vit_tiny_patch16_224", {"classes": 2}, "torchvision has no vit_tiny_patch16_224"),
        ("resnet18", {"classes": 2, "columns": 1}, "no network with columns"),
    ],
)
def test_what_torchvision_has_not(tmp_path, name, options, words):
    model = xfer.load(name, backend="torch", weights=None, image_size=32, device="cpu", **options)
    with pytest.raises(UsageError, match=words):
        xfer.export(model, tmp_path / "out", to="torchvision")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_goes_on_after_its_head(tmp_path):
    """xfer leaves out what follows the head; an export of the whole network would not."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return 10 * self.fc(self.conv(x).mean((2, 3)))

    model = xfer.wrap(Scaled(), backend="torch", head="fc", classes=2, image_size=16, device="cpu")
    with pytest.raises(UsageError, match="does something with the logits of its head"):
        xfer.export(model, tmp_path / "out", to="torch-export")


@pytest.mark.long
@pytest.mark.parametrize("format", ["torch-export", "torchvision", "onnx"])
@pytest.mark.parametrize("name", SMALLEST)
def test_every_family(tmp_path, name, format):
    """The comparison is in the export: it would fail."""
    size = smallest(name)
    model = lively(xfer.load(name, backend="torch", weights=None, classes=CLASSES, image_size=size, precision="fp32"))
    if format == "torchvision" and name not in torchvision.models.list_models():
        with pytest.raises(UsageError, match="torchvision has no"):
            xfer.export(model, tmp_path, to=format)
        return
    done = xfer.export(model, tmp_path, to=format)
    assert done.check.equal_classes == done.check.images == 64
