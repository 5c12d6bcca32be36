"""Several processes on TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from tests.suites.distributed import DistributedSuite, InShort
from xfer_keras import collectives
from xfer_keras.collectives import Collectives
from xfer_keras_nets.shares import Shares, moments, shared


class TestInShort(InShort):
    backend = "tensorflow"


@pytest.mark.long
class TestDistributed(DistributedSuite):
    backend = "tensorflow"


def test_gradients_are_summed_in_buckets_of_one_type(monkeypatch):
    """Of two processes that have the same."""
    kinds = []

    def twice(self, tensor):
        assert tensor.shape.num_elements() * tensor.dtype.size <= 64
        kinds.append(tensor.dtype.name)
        return 2 * tensor

    monkeypatch.setattr(collectives, "_BUCKET", 64)
    monkeypatch.setattr(Collectives, "_sum", twice)
    shapes = [((3,), "float64"), ((5, 7), "float64"), ((2, 2), "float32"), ((1,), "float32"), ((9,), "float64")]
    rng = np.random.default_rng(0)
    given = [tf.constant(rng.normal(size=shape), kind) for shape, kind in shapes]
    found = Collectives(0, 2, "CPU:0").sums([given[0], None, *given[1:]])
    assert found.pop(1) is None
    for mine, theirs in zip(found, given, strict=True):
        np.testing.assert_array_equal(mine, 2 * theirs)
        assert mine.dtype == theirs.dtype
    # 3 and 8 + 8 + 8 + 8 + 3 numbers of 8 bytes, then 4 and 1 of 4 bytes, then 9 numbers again, the last alone.
    assert kinds == ["float64"] * 6 + ["float32"] + ["float64"] * 2


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


def together(folder, job):
    return TestDistributed()._forked(folder, "tests.suites.launch:fork", 2, job)


def test_exchanges_leave_no_threads_behind(tmp_path):
    code, log = together(tmp_path, "tests.keras.distributed_jobs:exchange_often")
    assert code == 0, log


def test_a_process_that_hangs_ends_the_run(tmp_path):
    code, log = together(tmp_path, "tests.keras.distributed_jobs:hang")
    assert code == 1
    assert "DistributedError: another process of this run has ended (no answer for 1 seconds)\n" in log
