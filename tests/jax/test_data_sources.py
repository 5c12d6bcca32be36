"""Arrays of JAX as data."""

import jax.numpy as jnp
import numpy as np

from xfer.data import arrays, load
from xfer.data.images.decode import decode

X = np.random.default_rng(0).integers(0, 256, (6, 12, 10, 3), np.uint8)
Y = np.arange(6) % 2


def test_arrays_of_jax():
    data = arrays(jnp.array(X), jnp.array(Y), val=0)
    np.testing.assert_array_equal(np.stack([np.asarray(decode(image)) for image in data.train.images]), X)
    both = load(((jnp.array(X), jnp.array(Y)[:, None]), (X[:2], Y[:2, None])))
    assert both.train.labels.tolist() == Y.tolist()
    assert both.val.labels.tolist() == [0, 1]
