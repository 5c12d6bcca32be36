"""Explanations on backend 'torch', and the package grad-cam on the same networks."""

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

import xfer
from tests.suites.explaining import Explaining

CLASSES = ["ant", "bee", "cat"]
SIZE = 64


class TestTorch(Explaining):
    backend = "torch"


def channels_first(x):
    """(N, H, W, C), as torchvision's Swin has it, for the package."""
    return x.permute(0, 3, 1, 2)


def patches(x):
    """Tokens without the class token, as the package's documentation has it for vision transformers."""
    side = int((x.shape[1] - 1) ** 0.5)
    return x[:, 1:].reshape(len(x), side, side, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("name", "layer", "block", "reshape"),
    [
        ("resnet18", "layer4", None, None),
        ("resnet18", "layer2", "layer2", None),
        ("squeezenet1_1", "features.12", None, None),
        ("swin_t", "norm", None, channels_first),
        ("vit_b_32", "encoder.layers.encoder_layer_10", None, patches),
    ],
)
def test_the_package_grad_cam_finds_the_same(name, layer, block, reshape):
    """The whole network as torchvision runs it, hooked by the package, on the normalised images."""
    model = xfer.load(
        name, backend="torch", weights=None, classes=CLASSES, image_size=SIZE, precision="fp64", device="cpu"
    )
    images = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    targets = [2, 0, 1]
    ours = model.explain(images, targets, block=block)
    model.unfreeze()
    x = torch.from_numpy(model.outputs(ours.images, ["input"])["input"]).permute(0, 3, 1, 2)
    model.native.eval()
    layers = [model.native.get_submodule(layer)]
    with GradCAM(model=model.native, target_layers=layers, reshape_transform=reshape) as cam:
        chosen = [ClassifierOutputTarget(k) for k in targets]
        shown = cam(input_tensor=x, targets=chosen)
        found = cam.activations_and_grads
        raw = cam.get_cam_image(
            x, layers[0], chosen, found.activations[0].numpy(), found.gradients[0].numpy(), eigen_smooth=False
        )
    assert raw.std() > 0
    np.testing.assert_allclose(ours.raw, np.maximum(raw, 0), atol=1e-12 * np.abs(raw).max() + 1e-15)
    # The package shifts a map to begin with 0 before it divides by the largest, and adds 1e-7 to that.
    scaled = scale_cam_image(np.maximum(ours.raw, 0), (SIZE, SIZE))
    np.testing.assert_allclose(shown, scale_cam_image(scaled), atol=1e-5)
    begins_with_0 = [i for i in range(3) if ours.raw[i].min() == 0 and ours.raw[i].max() > 0]
    for i in begins_with_0:
        np.testing.assert_allclose(ours.maps[i], scaled[i], atol=1e-7 / ours.raw[i].max() + 1e-6)


def test_modes_of_torch_do_not_matter():
    """The user's no_grad, inference_mode and autocast, and training mode left on in the native module."""
    model = xfer.load("tiny", backend="torch", weights=None, classes=CLASSES, image_size=32, device="cpu")
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    expected = model.explain(images, "ant").raw
    model.native.train()
    for mode in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with mode:
            np.testing.assert_array_equal(model.explain(images, "ant").raw, expected)
    assert all(parameter.grad is None for parameter in model.native.parameters())
