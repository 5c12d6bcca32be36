"""Specs: what they refuse, and what the rates of blocks come to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfer.errors import DeviceError, UnknownNameError, UsageError
from xfer.runtime import devices
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.preprocessing import Preprocessing
from xfer.specs.rates import block_rates, decayed_rates
from xfer.specs.schedule import Schedule

BLOCKS = ("stem", "layer1", "layer2", "head")


def test_one_rate_for_all():
    assert block_rates(0.1, BLOCKS) == dict.fromkeys(BLOCKS, 0.1)


def test_named_rates_reach_down():
    rates = block_rates({"head": 1e-2, "layer2": 1e-3}, BLOCKS)
    assert rates == {"stem": 1e-3, "layer1": 1e-3, "layer2": 1e-3, "head": 1e-2}
    assert block_rates({"layer1": 0.5}, BLOCKS) == dict.fromkeys(BLOCKS, 0.5)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_rates(rate):
    with pytest.raises(UsageError, match="give a positive number"):
        block_rates(rate, BLOCKS)


def test_rate_of_unknown_block():
    with pytest.raises(UnknownNameError, match="did you mean 'layer1'"):
        block_rates({"layr1": 0.1}, BLOCKS)


@given(st.floats(1e-6, 10), st.floats(0.01, 1), st.lists(st.booleans(), min_size=1, max_size=30))
def test_layer_decay_divides_from_layer_to_layer(rate, decay, layers):
    """Going down from the head: a block that is a layer has the rate of the one above it times the decay."""
    depths = {f"b{i}": sum(layers[i:]) for i in range(len(layers))} | {"head": 0}
    found = decayed_rates(rate, depths, decay)
    expected = rate
    for i in reversed(range(len(layers))):
        expected *= decay if layers[i] else 1
        assert found[f"b{i}"] == pytest.approx(expected, rel=1e-12)
    assert found["head"] == rate
    assert decayed_rates(rate, depths, None) == dict.fromkeys(depths, rate)


def test_layer_decay_and_rates_by_block_are_one_or_the_other():
    depths = {"stem": 2, "layer1": 1, "head": 0}
    with pytest.raises(UsageError, match=r"given beside layer_decay=0\.5: give one rate"):
        decayed_rates({"head": 0.1}, depths, 0.5)


def test_warm_up_is_linear_and_never_zero():
    schedule = Schedule("cosine", warmup=4)
    assert [schedule.factor(step, 20) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert schedule.factor(4, 20) == 1.0
    assert schedule.factor(12, 20) == pytest.approx(0.5)


def test_defaults_are_torchs():
    assert OptimizerSpec("adamw").decay == 0.01
    assert OptimizerSpec("adam").decay == OptimizerSpec("sgd").decay == 0.0
    assert OptimizerSpec().eps == 1e-8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimizerSpec("adm"), "did you mean 'adam'"),
        (lambda: OptimizerSpec("sgd", momentum=0.0, nesterov=True), "nesterov needs momentum"),
        (lambda: OptimizerSpec("sgd", weight_decay=-1), "is negative"),
        (lambda: LossSpec(1.0), r"not in \[0, 1\)"),
        (lambda: LossSpec(class_weights=(1.0, -1.0)), "class_weights"),
        (lambda: Schedule("cosin"), "did you mean 'cosine'"),
        (lambda: Schedule("onecycle", warmup=3), "warms up by itself"),
        (lambda: Preprocessing(224, 256).at(4), "too small"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_another_size_keeps_the_ratio():
    assert Preprocessing(224, 256).at(112).resize == 128
    assert Preprocessing(224, 224).at(33).resize == 33


@pytest.mark.parametrize(
    ("asked", "there", "given"),
    [
        ("auto", ["cpu"], "cpu"),
        ("auto", ["cuda:0", "cpu"], "cuda:0"),
        ("cuda", ["cuda:0", "cpu"], "cuda:0"),
        ("gpu:1", ["cuda:0", "cuda:1", "cpu"], "cuda:1"),
        ("gpu", ["mps", "cpu"], "mps"),
        ("cpu:0", ["cpu"], "cpu"),
    ],
)
def test_devices(asked, there, given):
    assert devices.resolve(asked, there) == given


def test_absent_device_lists_what_is_there():
    with pytest.raises(DeviceError, match="device 'cuda:1' is not here: available are cuda:0, cpu"):
        devices.resolve("cuda:1", ["cuda:0", "cpu"])
