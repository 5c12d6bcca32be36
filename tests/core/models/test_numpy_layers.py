"""The NumPy backend against brute force: loops, formulas, and finite differences in float64."""

import numpy as np
import pytest

from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.update import UpdateSpec
from xfer.testing.numpy_backend.layers import BatchNorm, Conv, Dropout, GlobalAverage, LayerNorm, Linear, ReLU
from xfer.testing.numpy_backend.loss import cross_entropy
from xfer.testing.numpy_backend.optimizer import clip, global_norm, update

RNG = np.random.default_rng(0)
PICTURES, ROWS = RNG.normal(size=(3, 5, 6, 2)), RNG.normal(size=(6, 4))
LAYERS = [
    (lambda: Conv(2, 3, kernel=3, stride=2, pad=1, dtype=np.float64), PICTURES),
    (lambda: Conv(2, 3, kernel=3, stride=1, pad=0, dtype=np.float64), PICTURES),
    (lambda: BatchNorm(2, 1e-3, 0.1, np.float64), PICTURES),
    (lambda: BatchNorm(4, 1e-5, 0.1, np.float64), ROWS),
    (lambda: LayerNorm(4, np.float64), ROWS),
    (lambda: Linear(4, 3, np.float64), ROWS),
    (lambda: ReLU(), ROWS),
    (lambda: GlobalAverage(), PICTURES),
]


def slopes(f, x, h=1e-6):
    """Central differences of the scalar f with respect to every element of x, which is moved in place."""
    found = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        kept = x[place]
        x[place] = kept + h
        up = f()
        x[place] = kept - h
        found[place] = (up - f()) / (2 * h)
        x[place] = kept
    return found


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("make", "x"), LAYERS)
def test_backward_is_the_slope_of_forward(make, x, training):
    layer, x = make(), x.copy()
    for name, tensor in layer.tensors.items():
        layer.tensors[name] = np.abs(RNG.normal(size=tensor.shape)) + 0.1
    statistics = {n: t.copy() for n, t in layer.tensors.items() if n.startswith("running")}
    weigh = RNG.normal(size=layer.forward(x, training).shape)

    def loss():
        layer.tensors |= {name: tensor.copy() for name, tensor in statistics.items()}
        return (layer.forward(x, training) * weigh).sum()

    loss()
    dx, grads = layer.backward(weigh), dict(layer.grads)
    np.testing.assert_allclose(dx, slopes(loss, x), rtol=1e-6, atol=1e-7)
    for name, gradient in grads.items():
        np.testing.assert_allclose(gradient, slopes(loss, layer.tensors[name]), rtol=1e-6, atol=1e-7, err_msg=name)


def test_convolution_by_loops():
    layer = Conv(2, 3, kernel=3, stride=2, pad=1, dtype=np.float64)
    layer.tensors["weight"] = w = RNG.normal(size=(3, 2, 3, 3))
    out = layer.forward(PICTURES, False)
    padded = np.pad(PICTURES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    assert out.shape == (3, 3, 3, 3)
    for n, y, x, o in np.ndindex(*out.shape):
        expected = sum(padded[n, 2 * y + i, 2 * x + j, c] * w[o, c, i, j] for i, j, c in np.ndindex(3, 3, 2))
        assert out[n, y, x, o] == pytest.approx(expected)


def test_batch_norm_by_formula():
    layer = BatchNorm(2, eps=1e-3, momentum=0.1, dtype=np.float64)
    out = layer.forward(PICTURES, True)
    flat = PICTURES.reshape(-1, 2)
    mean, var = flat.mean(0), ((flat - flat.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(out, (PICTURES - mean) / np.sqrt(var / 90 + 1e-3))
    np.testing.assert_allclose(layer.tensors["running_mean"], 0.1 * mean)
    np.testing.assert_allclose(layer.tensors["running_var"], 0.9 + 0.1 * var / 89)
    layer.live = False
    kept = layer.tensors["running_mean"].copy()
    layer.forward(PICTURES, True)
    np.testing.assert_array_equal(layer.tensors["running_mean"], kept)


def test_dropout_keeps_the_mean_and_is_off_in_inference():
    layer, x = Dropout(0.25), np.ones((200, 200))
    out = layer.forward(x, True)
    assert set(np.unique(out)) == {0.0, 1 / 0.75}
    assert out.mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(layer.backward(x), out)
    np.testing.assert_array_equal(layer.forward(x, False), x)


@pytest.mark.parametrize("spec", [LossSpec(), LossSpec(0.2), LossSpec(0.2, (1.0, 3.0, 0.5, 2.0))])
def test_gradient_of_the_loss(spec):
    z, y = ROWS.copy(), np.array([0, 1, 2, 3, 1, 0])
    _, gradient = cross_entropy(spec, z, y)
    np.testing.assert_allclose(gradient, slopes(lambda: cross_entropy(spec, z, y)[0], z), rtol=1e-6, atol=1e-9)


def test_adam_by_its_definition():
    """Kingma & Ba 2015, with the running sums written as sums."""
    gradients = RNG.normal(size=(5, 3))
    w, slots = np.ones(3), {"exp_avg": np.zeros(3), "exp_avg_sq": np.zeros(3)}
    expected = np.ones(3)
    for t, g in enumerate(gradients, 1):
        w = update(UpdateSpec(OptimizerSpec("adamw", weight_decay=0.1)), w, g, slots, t, rate=0.05)
        past = gradients[:t]
        m = sum(0.1 * 0.9 ** (t - i) * past[i - 1] for i in range(1, t + 1)) / (1 - 0.9**t)
        v = sum(0.001 * 0.999 ** (t - i) * past[i - 1] ** 2 for i in range(1, t + 1)) / (1 - 0.999**t)
        expected = expected * (1 - 0.05 * 0.1) - 0.05 * m / (np.sqrt(v) + 1e-8)
    np.testing.assert_allclose(w, expected, rtol=1e-10)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_by_its_definition(nesterov):
    gradients = RNG.normal(size=(4, 3))
    w, slots, expected, buffer = np.ones(3), {"momentum_buffer": np.zeros(3)}, np.ones(3), np.zeros(3)
    for t, g in enumerate(gradients, 1):
        w = update(UpdateSpec(OptimizerSpec("sgd", nesterov=nesterov, weight_decay=0.1)), w, g, slots, t, rate=0.05)
        coupled = g + 0.1 * expected
        buffer = 0.9 * buffer + coupled
        expected = expected - 0.05 * (coupled + 0.9 * buffer if nesterov else buffer)
    np.testing.assert_allclose(w, expected, rtol=1e-12)


def test_clipping_is_by_the_global_norm():
    gradients = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    assert global_norm(gradients) == 5.0
    clipped = clip(gradients, 1.0, 5.0)
    norm = np.sqrt(sum((g**2).sum() for g in clipped.values()))
    assert norm == pytest.approx(1.0, rel=1e-6)
    assert clip(gradients, 10.0, 5.0)["b"] == 4.0
