"""Rates of stochastic depth and dropout below the head, on both frameworks."""

import numpy as np
import pytest

import xfer
from tests.suites.tiny_timm import CARDS
from xfer.errors import UsageError
from xfer.models.backend import get_backend
from xfer.models.drop_rates import DropRates
from xfer.specs.update import UpdateSpec

NAME = "tiny_deit3"
NAMES = (NAME, "tiny_siglip", "tiny_gap", "tiny_eva02", "tiny_eva02_clip")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
LABELS = np.arange(6) % 5


def dropout_of(name):
    """A rate for the networks that have dropout below their heads."""
    return 0.3 if "dropout" in CARDS[name].config else None


class DropRatesOfNetworks:
    """Set `backend`; `rates` reads those of stochastic depth and of dropout from the framework's layers, in order."""

    backend = None

    def rates(self, model):
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def tiny(self, monkeypatch):
        monkeypatch.setitem(xfer.zoo._CARDS, NAME, CARDS[NAME])

    def vit(self):
        model = xfer.load(
            NAME, backend=self.backend, weights=None, classes=5, image_size=32, precision="fp64", device="cpu"
        )
        return model, get_backend(model.backend).stepper(model, UpdateSpec())

    def test_frozen_parts_draw_nothing(self):
        model, stepper = self.vit()
        plain = stepper.gradients(IMAGES, LABELS, 1)
        model.set_drop_rates(DropRates(0.5, 0.3))
        path, dropout = self.rates(model)
        assert [rate for rate in path if rate] == [0.5, 0.5]  # of the second of two layers
        assert dropout == [0.3] * 6
        first, again, other = (stepper.gradients(IMAGES, LABELS, seed) for seed in (1, 1, 2))
        for name in ("head.weight", "blocks.0.attn.qkv.weight", "cls_token"):
            assert first[name].tobytes() == again[name].tobytes()
            assert first[name].tobytes() != other[name].tobytes()
            assert first[name].tobytes() != plain[name].tobytes()
        model.freeze()
        frozen = [stepper.gradients(IMAGES, LABELS, seed)["head.weight"] for seed in (1, 2)]
        np.testing.assert_allclose(frozen[0], plain["head.weight"], rtol=1e-9, atol=1e-12)
        assert frozen[0].tobytes() == frozen[1].tobytes()
        model.unfreeze()
        model.replace_head(["a", "b", "c", "d", "e"])
        assert self.rates(model) == (path, dropout), "a new head changes nothing below it"
        model.set_drop_rates(DropRates())
        assert not any(map(any, self.rates(model)))

    @pytest.mark.parametrize("name", NAMES)
    def test_the_last_layer_has_the_rate_and_the_first_none(self, monkeypatch, name):
        monkeypatch.setitem(xfer.zoo._CARDS, name, CARDS[name])
        model = xfer.load(name, backend=self.backend, weights=None, classes=5, image_size=32, device="cpu")
        model.set_drop_rates(DropRates(0.4, dropout_of(name)))
        path, dropout = self.rates(model)
        assert [rate for rate in path if rate] == [0.4, 0.4]  # of two branches of the second of two layers
        assert dropout == ([] if dropout_of(name) is None else [0.3] * 6)

    def test_a_trainer_sets_them_at_each_fit(self):
        model = self.vit()[0]
        data = xfer.data.arrays(IMAGES, LABELS, IMAGES, LABELS, classes=model.classes)
        options = {"progress": False, "batch_size": 3, "cache": False}
        xfer.Trainer(model, drop_path=0.4, backbone_dropout=0.1, **options).fit(data, 1)
        path, dropout = self.rates(model)
        assert (max(path), set(dropout)) == (0.4, {0.1})
        xfer.Trainer(model, **options).fit(data, 1)
        assert not any(map(any, self.rates(model)))

    def test_networks_without_them(self):
        model = xfer.load("tiny", backend=self.backend, weights=None, classes=3, image_size=16, device="cpu")
        for rates, message in (
            (DropRates(0.1), r"drop_path=0\.1: tiny has no stochastic depth, leave it out"),
            (DropRates(None, 0.1), r"backbone_dropout=0\.1: tiny has no dropout below its head, leave it out"),
        ):
            with pytest.raises(UsageError, match=message):
                model.set_drop_rates(rates)
