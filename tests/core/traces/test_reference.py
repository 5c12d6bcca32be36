"""The reference against loops over every element, and its scales against float32."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.traces.activations import ACTIVATIONS
from xfer.traces.reference import UnknownLayerError, compute

U = 2.0**-24
SETTINGS = settings(max_examples=40, deadline=None)


def slow_conv(x, w, stride, padding, dilation, groups):
    """A convolution by its definition."""
    x = np.pad(x, [(0, 0), (0, 0), *map(tuple, padding)])
    n, o, (kh, kw) = len(x), len(w), w.shape[2:]
    h = (x.shape[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    wide = (x.shape[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, h, wide), x.dtype)
    for b, c, i, j in np.ndindex(*y.shape):
        first = c // (o // groups) * w.shape[1]
        total = x.dtype.type(0)
        for k, p, q in np.ndindex(*w.shape[1:]):
            at = x[b, first + k, i * stride[0] + p * dilation[0], j * stride[1] + q * dilation[1]]
            total += at * w[c, k, p, q]
        y[b, c, i, j] = total
    return y


@SETTINGS
@given(
    seed=st.integers(0, 99),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    padding=st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=2), min_size=2, max_size=2),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2, 4]),
)
def test_convolution(seed, stride, padding, dilation, groups):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(2, 4, 6, 5)), rng.normal(size=(4, 4 // groups, 3, 2))
    config = {"kernel": [3, 2], "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    value, scale = compute("conv", config, [x], {"weight": w})
    expected = slow_conv(x, w, stride, padding, dilation, groups)
    assert value.shape == expected.shape
    assert np.abs(value - expected).max() < 1e-12
    short = slow_conv(x.astype("f4"), w.astype("f4"), stride, padding, dilation, groups)
    rounded = compute("conv", config, [x.astype("f4")], {"weight": w.astype("f4")})[0]
    assert (np.abs(short - rounded) <= U * scale).all()
    assert (scale <= 400 * np.abs(x).max() * np.abs(w).sum((1, 2, 3)).max()).all()  # and is no empty claim


@SETTINGS
@given(
    seed=st.integers(0, 99),
    largest=st.booleans(),
    counted=st.booleans(),
    stride=st.integers(1, 3),
    padding=st.integers(0, 1),
)
def test_pooling(seed, largest, counted, stride, padding):
    x = np.random.default_rng(seed).normal(size=(2, 3, 7, 6))
    config = {"pooling": "max" if largest else "mean", "kernel": [3, 2], "stride": [stride] * 2, "counted": counted}
    value, _ = compute("pool", config | {"padding": [[padding, padding]] * 2}, [x], {})
    for b, c, i, j in np.ndindex(*value.shape):
        rows, columns = (range(k * stride - padding, k * stride - padding + n) for k, n in ((i, 3), (j, 2)))
        seen = [x[b, c, r, s] for r, s in itertools.product(rows, columns) if 0 <= r < 7 and 0 <= s < 6]
        expected = max(seen) if largest else sum(seen) / (6 if counted else len(seen))
        assert value[b, c, i, j] == pytest.approx(expected)


@SETTINGS
@given(seed=st.integers(0, 99), eps=st.sampled_from([1e-3, 1e-5]), groups=st.sampled_from([1, 2, 4]))
def test_normalisations(seed, eps, groups):
    rng = np.random.default_rng(seed)
    x, gain, shift = rng.normal(size=(3, 4, 5, 2)) * 3 + 1, rng.normal(size=4), rng.normal(size=4)
    mean, variance = rng.normal(size=4), rng.uniform(0.1, 2, 4)
    weights = {"weight": gain, "bias": shift, "mean": mean, "variance": variance}
    batch, _ = compute("batch_norm", {"eps": eps, "batch": False}, [x], weights)
    split, _ = compute("group_norm", {"eps": eps, "groups": groups}, [x], weights)
    layer, _ = compute("layer_norm", {"eps": eps, "axes": 1}, [x], weights)
    for b, c, i, j in np.ndindex(*x.shape):
        members = x[b, c // (4 // groups) * (4 // groups) :][: 4 // groups]
        for found, (m, v) in (
            (batch, (mean[c], variance[c])),
            (split, (members.mean(), members.var())),
            (layer, (x[b, :, i, j].mean(), x[b, :, i, j].var())),
        ):
            assert found[b, c, i, j] == pytest.approx((x[b, c, i, j] - m) / np.sqrt(v + eps) * gain[c] + shift[c])


def test_activations_at_known_values():
    x = np.array([[-2.0, -0.5, 0.0, 1.0, 7.0]])
    known = {
        "relu": [0, 0, 0, 1, 7],
        "relu6": [0, 0, 0, 1, 6],
        "gelu": [-0.04550026, -0.15426877, 0, 0.84134475, 7],
        "gelu_tanh": [-0.04540231, -0.15428599, 0, 0.84119199, 7],
        "silu": [-0.23840584, -0.18877033, 0, 0.73105858, 6.99362250],
        "hard_swish": [-0.33333333, -0.20833333, 0, 0.66666667, 7],
        "elu": [-0.86466472, -0.39346934, 0, 1, 7],
        "leaky_relu": [-0.02, -0.005, 0, 1, 7],
        "mish": [-0.25250148, -0.22074377, 0, 0.86509839, 6.99998838],
    }
    for name, expected in known.items():
        assert ACTIVATIONS[name](x, None)[0] == pytest.approx(expected, abs=1e-6), name
    assert ACTIVATIONS["softmax"](x, None).sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_in_float32_are_within_their_scale(name):
    x = np.random.default_rng(0).normal(size=(64, 16)).astype("f4") * 4
    value, scale = compute("activation", {"name": name}, [x], {})
    short = ACTIVATIONS[name](x, None).astype("f4")
    assert (np.abs(short - value) <= U * scale + 1e-37).all()


@pytest.mark.parametrize(
    ("kind", "config", "inputs", "weights"),
    [
        ("attention", {}, [np.ones((1, 2))], {}),
        ("dense", {}, [np.ones((1, 2))], {"weight": np.ones((3, 4))}),
        ("dense", {}, [np.ones((1, 2))], {}),
        ("dense", {}, [], {}),
        ("dropout", {"active": True}, [np.ones((1, 2))], {}),
        ("activation", {"name": "unknown"}, [np.ones((1, 2))], {}),
        ("pool", {"kernel": [2, 2], "stride": [0, 1], "padding": [[0, 0], [0, 0]], "pooling": "max"},
         [np.ones((1, 1, 4, 4))], {}),
        ("pool", {"kernel": [2, 2], "stride": [1, 1], "padding": [[10**9, 0], [0, 0]], "pooling": "max"},
         [np.ones((1, 1, 4, 4))], {}),
    ],
)  # fmt: skip
def test_what_it_does_not_know_it_says(kind, config, inputs, weights):
    with pytest.raises(UnknownLayerError):
        compute(kind, config, inputs, weights)
