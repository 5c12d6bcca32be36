"""PyTorch's habits, against torch and torchvision."""

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.nn import functional

import xfer
from tests.suites.habits import RATES, FrameworkHabits


class TestTorch(FrameworkHabits):
    backend = "torch"

    def updated(self, rule, decay, eps, weight, gradients):
        parameter = torch.nn.Parameter(torch.from_numpy(weight.copy()))
        given = {} if decay is None else {"weight_decay": decay}
        given |= {"momentum": 0.9} if rule == "sgd" else {} if eps is None else {"eps": eps}
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[rule]
        optimizer = kind([parameter], lr=1.0, **given)
        for rate, gradient in zip(RATES, gradients, strict=True):
            optimizer.param_groups[0]["lr"] = rate
            parameter.grad = torch.from_numpy(gradient)
            optimizer.step()
        return parameter.detach().numpy()

    def normalised(self, batches):
        layer = torch.nn.BatchNorm1d(batches[0].shape[1], dtype=torch.float64)
        for batch in batches:
            layer(torch.from_numpy(batch))
        found = layer.eval()(torch.from_numpy(batches[0])).detach().numpy()
        return layer.running_mean.numpy(), layer.running_var.numpy(), found

    def convolved(self, x, weight):
        layer = torch.nn.Conv2d(3, len(weight), 3, stride=2, padding=3 // 2, bias=False, dtype=torch.float64)
        layer.weight = torch.nn.Parameter(torch.from_numpy(weight))
        return layer(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()

    def pixels(self, folder, size):
        image = Image.open(next(folder.rglob("*.png")))
        shorter = round(size * 256 / 224)  # torchvision's presets of its weights for 224 pixels
        view = torchvision.transforms.Compose(
            [torchvision.transforms.Resize(shorter), torchvision.transforms.CenterCrop(size)]
        )
        return np.asarray(view(image), np.float64)

    def scaled(self, pixels):
        preset = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        return torchvision.transforms.functional.normalize(x, preset.mean, preset.std).permute(0, 2, 3, 1).numpy()

    def initial(self, width, out):
        torch.manual_seed(0)
        layer = torch.nn.Linear(width, out)
        return layer.weight.detach().numpy(), layer.bias.detach().numpy()

    def loss(self, logits, y, weights):
        loss = torch.nn.CrossEntropyLoss(weight=torch.from_numpy(weights))
        return float(loss(torch.from_numpy(logits), torch.from_numpy(y)))


def test_a_biased_variance_is_left_alone_in_inference():
    """And a layer without running statistics has none."""
    from xfer_torch.norm import BiasedVariance

    x = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    layer = torch.nn.BatchNorm2d(3, dtype=torch.float64).eval()
    with BiasedVariance():
        layer(x)
        functional.batch_norm(x, None, None, training=True)
        assert torch.equal(layer.running_var, torch.ones(3, dtype=torch.float64))
        layer.train()(x)
    expected = 0.9 + 0.1 * x.var((0, 2, 3), correction=0)
    assert torch.allclose(layer.running_var, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "name", ["efficientnet_lite0", "resnet18", "mobilenet_v3_small", "keras_mobilenet_v2", "keras_mobilenet"]
)
def test_a_card_says_how_its_network_is_padded(name):
    """And the other padding gives other features from the same weights."""
    options = {"backend": "torch", "weights": None, "classes": 2, "image_size": 64}
    own = xfer.load(name, **options)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    for padding in ("same", "symmetric"):
        other = xfer.load(name, **options, numerics=xfer.Numerics(padding=padding))
        alike = np.array_equal(own.stage(pixels, "features"), other.stage(pixels, "features"))
        assert alike == (own.card.same_padding == (padding == "same"))
