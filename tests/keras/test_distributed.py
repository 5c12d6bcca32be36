"""Several processes on TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from tests.suites.distributed import DistributedSuite
from xfer_keras import distributed
from xfer_keras.distributed import KerasDistributedContext
from xfer_keras_nets.shares import Shares, moments, shared


class TestDistributed(DistributedSuite):
    backend = "tensorflow"


class Doubling(KerasDistributedContext):
    """Two processes that have the same."""

    def _summed(self, tensor):
        assert tensor.shape.num_elements() * tensor.dtype.size <= distributed._BUCKET
        self.collectives.append(tensor.dtype)
        return 2 * tensor


def test_gradients_are_summed_in_buckets_of_one_type(monkeypatch):
    monkeypatch.setattr(distributed, "_BUCKET", 64)
    shapes = [((3,), "float64"), ((5, 7), "float64"), ((2, 2), "float32"), ((1,), "float32"), ((9,), "float64")]
    rng = np.random.default_rng(0)
    given = [tf.constant(rng.normal(size=shape), kind) for shape, kind in shapes]
    context = Doubling(0, 2)
    object.__setattr__(context, "collectives", [])
    found = context.sums([given[0], None, *given[1:]])
    assert found.pop(1) is None
    for mine, theirs in zip(found, given, strict=True):
        np.testing.assert_array_equal(mine, 2 * theirs)
        assert mine.dtype == theirs.dtype
    # 3 and 8 + 8 + 8 + 8 + 3 numbers of 8 bytes, then 4 and 1 of 4 bytes, then 9 numbers again, the last alone.
    assert [kind.name for kind in context.collectives] == ["float64"] * 6 + ["float32"] + ["float64"] * 2


@pytest.mark.parametrize("shape", [(8, 4, 5, 3), (8, 3)])
def test_rows_that_fill_up_a_shape_count_as_nothing(shape):
    """Also where a variance is small beside the mean, in float32, and in the gradient."""
    x = np.random.default_rng(0).normal(1e4, 1, shape).astype(np.float32).astype(float)
    whole, axes = x[:6], tuple(range(len(shape) - 1))

    def variance(x):
        with shared(Shares(tf.constant([6, 0]), 0, lambda own: tf.stack([own, tf.zeros_like(own)]))):
            mean, variance, count = moments(x)
        np.testing.assert_allclose(mean, whole.mean(axes), rtol=1e-6)
        assert count == whole[..., 0].size
        return variance

    np.testing.assert_allclose(variance(tf.constant(x, tf.float32)), whole.var(axes), rtol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(exact := tf.constant(x))
        total = tf.reduce_sum(variance(exact))
    wanted = 2 * (whole - whole.mean(axes)) / whole[..., 0].size
    np.testing.assert_allclose(tape.gradient(total, exact), np.concatenate([wanted, 0 * x[6:]]), atol=1e-12)
