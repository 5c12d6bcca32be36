"""`model.explain` on a framework's networks: every architecture has a block to explain, or says that it has none."""

import gc

import numpy as np
import pytest

import xfer
from xfer.errors import UsageError
from xfer.zoo import card, cards

QUICK = ["tiny", "resnet18", "mobilenet_v3_small", "efficientnet_lite0", "squeezenet1_1"]
OTHERS = sorted({c.name for c in cards()} - set(QUICK))


def smallest(name):
    """The least size of which every network has a map of several places."""
    found = card(name)
    least = max(299 if "inception" in name or name == "googlenet" else 96, found.size_smallest)
    return -(-least // found.size_multiple) * found.size_multiple


class Explaining:
    """Set `backend`."""

    backend: str

    def check(self, name):
        size = smallest(name)
        model = xfer.load(name, backend=self.backend, weights=None, classes=["a", "b"], image_size=size, device="cpu")
        model.freeze()
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (1, size, size, 3)).astype(np.uint8)
        found = model.explain(images, "a")
        activations, gradient = model.activation_gradient(images, found.block, np.eye(1, 2))
        if activations.ndim == 3:
            prefix = model.card.prefix_tokens  # what the class token has is in no map
            activations, gradient = activations[:, prefix:], gradient[:, prefix:]
        assert found.raw.shape[1] * found.raw.shape[2] == activations[0, ..., 0].size > 1
        assert found.maps.shape == (1, size, size)
        assert np.isfinite(found.maps).all()
        assert np.abs(gradient).max(axis=-1).min() > 0, "a place has no gradient"
        del model
        gc.collect()

    @pytest.mark.parametrize("name", QUICK)
    def test_a_small_network_has_a_map_with_gradients(self, name):
        self.check(name)

    @pytest.mark.long
    @pytest.mark.parametrize("name", OTHERS)
    def test_every_architecture_has_a_map_with_gradients(self, name):
        self.check(name)

    def test_behind_the_class_token_nothing_is_explained(self):
        """The gradient there is 0 at every place but the class token's: refused by name, not shown as an empty map."""
        model = xfer.load("vit_tiny_patch16_224", backend=self.backend, weights=None, classes=["a", "b"], image_size=32)
        images = np.zeros((1, 32, 32, 3), np.uint8)
        for block in ("layer11", "norm"):
            _, gradient = model.activation_gradient(images, block, np.eye(1, 2))
            assert np.abs(gradient[:, 0]).max() > 0
            assert not gradient[:, 1:].any()
            with pytest.raises(UsageError, match=f"behind 'layer10' the places of '{block}' matter no more"):
                model.explain(images, block=block)
        assert model.explain(images).block == "layer10"
        assert model.explain(images, block="stem").raw.shape == (1, 2, 2)
