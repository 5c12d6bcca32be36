"""Real tf.data sets and Keras arrays through `wrap`; the rest is in tests/core/data/test_wrapped.py."""

import numpy as np
import pytest
from PIL import Image

tf = pytest.importorskip("tensorflow")

from xfer.data import arrays, load, wrap  # noqa: E402
from xfer.data.images.decode import decode  # noqa: E402
from xfer.errors import DataError  # noqa: E402

X = np.random.default_rng(0).integers(0, 256, (6, 12, 10, 3), np.uint8)
Y = np.arange(6) % 2


def pixels(split):
    return np.stack([np.asarray(decode(image)) for image in split.images])


@pytest.mark.parametrize("batch", [0, 4])
@pytest.mark.parametrize("scale", [1, 255])
def test_tf_data(batch, scale):
    dataset = tf.data.Dataset.from_tensor_slices((X if scale == 1 else X / np.float32(255), Y))
    data = load(dataset.batch(batch) if batch else dataset, val=0)
    np.testing.assert_array_equal(pixels(data.train), X)
    assert data.train.labels.tolist() == Y.tolist()


def test_rows_and_string_labels():
    dataset = tf.data.Dataset.from_tensor_slices({"image": X, "label": ["ant", "bee"] * 3})
    assert wrap(dataset, dataset.take(2)).val.counts() == {"ant": 1, "bee": 1}


def test_endless_and_one_hot_are_refused():
    dataset = tf.data.Dataset.from_tensor_slices((X, Y))
    with pytest.raises(DataError, match=r"leave out .repeat\(\)"):
        load(dataset.repeat())
    with pytest.raises(DataError, match=r"shape \(2,\): give one class an image \(argmax of one-hot\)"):
        load(tf.data.Dataset.from_tensor_slices((X, np.eye(2)[Y])))


def test_image_dataset_from_directory_says_what_to_do(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(X[i]).save(tmp_path / name / f"{i}.png")
    dataset = tf.keras.utils.image_dataset_from_directory(tmp_path, image_size=(12, 10), shuffle=False, verbose=False)
    with pytest.raises(DataError, match=r"floats from .*: give uint8 \(0 to 255\)"):
        load(dataset)
    cast = dataset.map(lambda x, y: (tf.cast(x, tf.uint8), y))
    data = wrap(cast, classes=dataset.class_names, share=0)
    assert data.train.counts() == {"ant": 2, "bee": 2}
    np.testing.assert_array_equal(pixels(data.train)[:2], X[:2])


def test_tensors_and_load_data_tuples():
    data = arrays(tf.constant(X), tf.constant(Y), val=0)
    np.testing.assert_array_equal(pixels(data.train), X)
    both = load(((X, Y[:, None]), (X[:2], Y[:2, None])))
    assert both.val.labels.tolist() == [0, 1]
