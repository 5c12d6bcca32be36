"""A module of one's own, and one of timm's, behind BaseModel."""

import numpy as np
import pytest
import torch
from torch import nn

import xfer
from tests.suites.wrapping import Wrapping


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.layer = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 3))

    def forward(self, x):
        x = self.layer(self.stem(x * self.scale))
        return self.classifier(x.mean((2, 3)))


class Variant(nn.Module):
    def __init__(self, activation, ending, channels, bias):
        super().__init__()
        self.conv, self.classifier = nn.Conv2d(channels, 8, 3), nn.Linear(8, 3, bias=bias)
        self.activation, self.ending = activation, ending

    def forward(self, x):
        z = self.classifier(self.activation(self.conv(x)).mean((2, 3)))
        return {"": z, "softmax": z.softmax(1), "scale": z * 3, "two": (z, z)}[self.ending]


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.drop = nn.Conv2d(8, 8, 1), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.conv(x))


class Dropped(nn.Module):
    def __init__(self):
        super().__init__()
        self.other, self.inner, self.drop = nn.Conv2d(3, 8, 3), Inner(), nn.Dropout(0.5)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x):
        return self.classifier(self.drop(self.inner(self.other(x)).mean((2, 3))))


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.cut, self.after, self.classifier = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Linear(8, 3)

    def forward(self, x):
        return self.classifier(self.after(self.cut(x).detach()).mean((2, 3)))


class TestTorch(Wrapping):
    backend = "torch"
    head = "classifier"
    inner = "stem.2"

    def native(self):
        torch.manual_seed(0)
        return Own().eval()

    def native_logits(self, net, x):
        with torch.inference_mode():
            return net(torch.from_numpy(x).permute(0, 3, 1, 2).float()).numpy()

    def variant(self, activation="relu", ending="", channels=3, bias=True):
        torch.manual_seed(0)
        return Variant(getattr(torch, activation), ending, channels, bias)

    def dropped(self):
        torch.manual_seed(0)
        return Dropped()

    def detached(self):
        return Detached()

    def live_layers(self, model):
        model.set_training(True)
        return {"root": model.native.drop.training, "inner": model.native.inner.drop.training}

    def test_blocks_are_children(self):
        model = self.wrap(self.native())
        assert model.blocks == ("stem.0", "stem.1", "layer.0", "layer.1", "head")
        assert model.card.block_of("scale") == "stem.0"
        assert model.card.head == "classifier.1"

    def test_a_network_that_gives_no_logits(self):
        net = self.native()
        net.forward = lambda x: {"logits": x}
        with pytest.raises(xfer.XferError, match="expected a tensor of logits"):
            self.wrap(net)

    def test_a_head_that_does_not_run(self):
        net = self.native()
        net.forward = lambda x: x.mean((2, 3))
        with pytest.raises(xfer.XferError, match="runs its head 0 times"):
            self.wrap(net)


def test_timm():
    timm = pytest.importorskip("timm")
    net = timm.create_model("resnet18", pretrained=False).eval()
    model = xfer.wrap(net, backend="torch", head="fc", classes=["ant", "bee"])
    assert model.spec.preprocessing.interpolation == "bicubic"
    assert model.spec.preprocessing.size == 224
    assert "layer4.1" in model.blocks
    images = np.zeros((2, 224, 224, 3), np.uint8)
    assert model.logits(images).shape == (2, 2)
