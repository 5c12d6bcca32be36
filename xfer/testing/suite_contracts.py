"""Names, shapes, types, and what is refused."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfer
from xfer.errors import DeviceError, UnknownNameError, UsageError, XferError
from xfer.models.backend import Backend
from xfer.models.base_model import BaseModel
from xfer.models.stepper import Stepper
from xfer.testing.numpy_backend import NumpyBackend
from xfer.testing.suite_base import CLASSES, SIZE, Suite, images

SHAPES = {
    "conv1.weight": (8, 3, 3, 3),
    "bn1.weight": (8,),
    "bn1.bias": (8,),
    "bn1.running_mean": (8,),
    "bn1.running_var": (8,),
    "layer1.conv.weight": (16, 8, 3, 3),
    "layer1.bn.weight": (16,),
    "layer1.bn.bias": (16,),
    "layer1.bn.running_mean": (16,),
    "layer1.bn.running_var": (16,),
    "fc.weight": (3, 16),
    "fc.bias": (3,),
}


class Contracts(Suite):
    """The interfaces and the border."""

    def test_signatures_are_the_contracts(self) -> None:
        model = self.model()
        for made, contract in ((self.engine, Backend), (model, BaseModel), (self.stepper(model), Stepper)):
            assert isinstance(made, contract)
            for name in contract.__abstractmethods__:
                expected = list(inspect.signature(getattr(contract, name)).parameters)
                found = list(inspect.signature(getattr(type(made), name)).parameters)
                assert found == expected, f"{type(made).__name__}.{name} takes {found}, the contract says {expected}"

    def test_it_says_what_it_is(self) -> None:
        assert self.engine.versions(), "versions() names no package"
        assert "cpu" in self.engine.devices()
        assert "tiny" in self.engine.architectures()

    def test_other_kernels_have_other_cached_features(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Frozen passes that round otherwise fill a cache namespace of their own; float64 is the framework's own."""
        model = self.model("fp32")
        assert self.engine.frozen_kernels(self.model("fp64").spec) == ""
        found = {model.fingerprint("features")}
        for name in ("ours", "theirs"):
            monkeypatch.setattr(type(self.engine), "frozen_kernels", lambda engine, spec, name=name: name)
            found.add(model.fingerprint("features"))
        assert len(found) == 3

    def test_reprs_are_short(self) -> None:
        """At most five lines, and no address in memory; the parameters that are trainable stand in the plan."""
        model = self.model()
        report = model.freeze()
        for each in (self.engine, model, report, model.freezer, self.stepper(model)):
            said = repr(each)
            assert len(said) <= 400, said
            assert said.count("\n") < 5, said
            assert " at 0x" not in said, said
        head = sum(number for name, number in model.parameters.items() if name.startswith("fc."))
        assert f"{head:,} of {sum(model.parameters.values()):,} parameters" in repr(report)
        assert "trainable: head" in repr(model)

    def test_names_and_shapes_are_canonical_and_in_forward_order(self) -> None:
        assert list(self.model().shapes().items()) == list(SHAPES.items())

    def test_weights_come_back_bit_by_bit(self) -> None:
        for precision, dtype in (("fp32", np.float32), ("fp64", np.float64)):
            model = self.model(precision)
            rng = np.random.default_rng(3)
            weights = {name: rng.random(shape).astype(dtype) for name, shape in SHAPES.items()}
            model.set_weights(weights)
            for name, array in model.weights().items():
                assert array.dtype == dtype, name
                assert array.tobytes() == weights[name].tobytes(), f"{name} changed on the way in and out"

    def test_reading_gives_copies(self) -> None:
        model = self.model()
        model.weights()["fc.bias"][:] = 5
        assert not (model.weights()["fc.bias"] == 5).any()

    @pytest.mark.parametrize("number", [0, 1, 5])
    def test_shapes_and_types_of_outputs(self, number: int) -> None:
        for precision, dtype in (("fp32", np.float32), ("fp64", np.float64)):
            model = self.model(precision)
            outputs = model.outputs(images(number), ["input"]) | model.block_outputs(images(number))
            expected = {
                "input": (number, SIZE, SIZE, 3),
                "stem": (number, SIZE // 2, SIZE // 2, 8),
                "layer1": (number, SIZE // 4, SIZE // 4, 16),
                "features": (number, 16),
                "head": (number, 3),
            }
            assert {name: array.shape for name, array in outputs.items()} == expected
            assert {array.dtype for array in outputs.values()} == {np.dtype(dtype)}

    def test_outputs_change_nothing_and_do_not_mix_images(self) -> None:
        model = self.model("fp64")
        before = model.weights()
        together, alone = model.logits(images(4)), model.logits(images(4)[2:3])
        np.testing.assert_allclose(alone[0], together[2], rtol=1e-12)
        assert all(a.tobytes() == before[name].tobytes() for name, a in model.weights().items())

    @pytest.mark.parametrize(
        "wrong",
        [np.zeros((1, SIZE, SIZE, 3)), np.zeros((1, 3, SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE, 3), np.uint8)],
        ids=["float", "channels first", "no batch"],
    )
    def test_the_border_refuses_what_is_no_batch(self, wrong: Any) -> None:
        with pytest.raises(UsageError, match=r"expected uint8 \(N, 16, 16, 3\)"):
            self.model().logits(wrong)

    def test_errors_say_what_is_there(self) -> None:
        with pytest.raises(DeviceError, match=r"available are .*cpu"):
            self.model(device="cuda:99")
        with pytest.raises(UnknownNameError, match="did you mean 'layer1'"):
            self.model().freeze("layr1")
        with pytest.raises(UnknownNameError, match=r"unknown tensor 'fc\.wight'; did you mean 'fc\.weight'"):
            self.model().set_weights({"fc.wight": np.zeros((3, 16), np.float32)})
        with pytest.raises(UsageError, match=r"'fc.bias' has shape \(4,\): expected \(3,\)"):
            self.model().set_weights({"fc.bias": np.zeros(4, np.float32)})

    def test_a_model_it_lacks_is_refused_by_name(self) -> None:
        lacking = [card.name for card in xfer.zoo.cards() if card.name not in self.engine.architectures()]
        for name in lacking[:1]:
            with pytest.raises(XferError, match=f"has no {name}"):
                xfer.load(name, backend=self.backend, weights=None)

    def test_predictions_follow_the_order_of_classes(self) -> None:
        model = self.model()
        model.set_weights({"fc.weight": np.zeros((3, 16), np.float32), "fc.bias": np.array([0, 9, 3], np.float32)})
        prediction = model.predict(images(2), top=2)[0]
        assert [label for label, _ in prediction.top] == ["bee", "cat"]
        p = model.predict_proba(images(2))
        assert p.dtype == np.float32
        np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)
        assert prediction.probability == p[0, 1]

    @pytest.mark.parametrize(
        "head",
        [
            xfer.Head(),
            xfer.Head(dropout=0.5),
            xfer.Head((5, 4), 0.1, "batch"),
            xfer.Head((5,), norm="layer"),
            xfer.Head((5,), 0.2),
        ],
        ids=str,
    )
    def test_heads_have_the_cores_names_shapes_and_weights(self, head: xfer.Head) -> None:
        model = self.model()
        model.replace_head(["x", "y", "z", "w"], head, seed=5)
        expected = head.initial("fc", 16, 4, seed=5)
        found = {name: array for name, array in model.weights().items() if name.startswith("fc.")}
        assert {n: a.shape for n, a in found.items()} == head.shapes("fc", 16, 4)
        assert all(array.tobytes() == expected[name].tobytes() for name, array in found.items())
        assert model.logits(images(2)).shape == (2, 4)
        assert model.classes == ("x", "y", "z", "w")

    def test_save_and_load(self, tmp_path: Path) -> None:
        model = self.model(head=xfer.Head((5,), 0.1, "batch"))
        model.freeze("stem")
        model.save(tmp_path / "run")
        again = xfer.load(tmp_path / "run", backend=self.backend)
        assert again.classes == CLASSES
        assert again.trainable == model.trainable
        assert again.logits(images(3)).tobytes() == model.logits(images(3)).tobytes()
        there = xfer.load(tmp_path / "run", backend=NumpyBackend())
        np.testing.assert_allclose(there.predict_proba(images(3)), model.predict_proba(images(3)), rtol=1e-5)
