"""Freeze plans, their reports and their proof."""

import pytest

import xfer
from xfer.errors import FrozenError, UnknownNameError, UsageError

BACKBONE = {"conv1.weight", "bn1.weight", "bn1.bias", "layer1.conv.weight", "layer1.bn.weight", "layer1.bn.bias"}
HEAD = {"fc.weight", "fc.bias"}


def test_freeze_keeps_all_but_the_head(model):
    report = model.freeze()
    assert model.trainable == HEAD
    assert report.blocks == {"stem": (0, 216 + 16), "layer1": (0, 1152 + 32), "head": (3 * 16 + 3, 0)}
    assert (report.trainable, report.frozen) == (51, 1416)
    assert "1,416" in str(report)


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (("stem",), {"conv1.weight", "bn1.weight", "bn1.bias"}),
        (("*bn*",), {"bn1.weight", "bn1.bias", "layer1.bn.weight", "layer1.bn.bias"}),
        (("re:.*conv",), {"layer1.conv.weight"}),
        (("re:(layer1[.])?conv1?",), {"conv1.weight", "layer1.conv.weight"}),
        (("layer1.conv", "fc"), {"layer1.conv.weight", *HEAD}),
    ],
)
def test_freeze_by_name(model, patterns, frozen):
    model.freeze(*patterns)
    assert (BACKBONE | HEAD) - model.trainable == frozen


def test_freezing_adds_up(model):
    model.freeze("stem")
    model.freeze("*.bn")
    assert model.trainable == {"layer1.conv.weight", *HEAD}


@pytest.mark.parametrize(
    ("arguments", "trainable"),
    [
        ({"last": 0}, HEAD),
        ({"last": 1}, HEAD | {n for n in BACKBONE if n.startswith("layer1")}),
        ({"last": 2}, HEAD | BACKBONE),
        ({"layers": 1}, HEAD),
        ({"layers": 2}, HEAD | {"layer1.bn.weight", "layer1.bn.bias"}),
        ({}, HEAD | BACKBONE),
    ],
)
def test_unfreeze(model, arguments, trainable):
    model.freeze()
    model.unfreeze(**arguments)
    assert model.trainable == trainable


def test_statistics_are_frozen_with_their_layer(model):
    model.freeze("layer1")
    assert "layer1.bn.running_var" in model.freezer.frozen()
    assert "bn1.running_var" not in model.freezer.frozen()


def test_freeze_norm_takes_batch_norm_of_the_backbone_only(model):
    model.replace_head(3, xfer.Head((4,), norm="batch"))
    model.freezer.freeze_norm()
    assert model.trainable >= {"fc.norm0.weight", "conv1.weight", "layer1.conv.weight"}
    assert not {"bn1.weight", "bn1.bias", "layer1.bn.weight"} & model.trainable
    assert "bn1.running_var" in model.freezer.frozen()


def test_verify_names_what_changed(model):
    model.freeze()
    assert model.freezer.verify() == 10
    weights = model.read(["bn1.running_mean"])["bn1.running_mean"]
    weights[3] += 1e-7
    model.write({"bn1.running_mean": weights})
    with pytest.raises(FrozenError, match=r"1 frozen tensors have changed: bn1\.running_mean"):
        model.freezer.verify()


def test_set_weights_is_not_a_breach(model):
    model.freeze()
    model.set_weights({"bn1.bias": model.read(["bn1.bias"])["bn1.bias"] + 1})
    assert model.freezer.verify() == 10


def test_errors(model):
    with pytest.raises(UnknownNameError, match="unknown block or layer 'layer2'; did you mean 'layer1'"):
        model.freeze("layer2")
    with pytest.raises(UsageError, match="last 3 blocks: give 0 to 2"):
        model.unfreeze(last=3)
    with pytest.raises(UsageError, match="not a regular expression"):
        model.freeze("re:(")
