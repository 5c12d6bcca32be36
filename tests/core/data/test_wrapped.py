"""Data sets of every library, by fakes that can do just what xfer may rely on."""

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from xfer.data import Loader, arrays, wrap
from xfer.data.images.decode import decode
from xfer.errors import DataError, UsageError


def rgb(n=12, size=(10, 9)):
    return np.random.default_rng(0).integers(0, 256, (n, *size, 3), np.uint8)


class Tensor:
    """Quacks like a torch tensor."""

    def __init__(self, array):
        self.array = np.asarray(array)
        self.shape, self.ndim = self.array.shape, self.array.ndim

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        return map(Tensor, self.array)

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.array


class Mapped:
    """Quacks like a torch Dataset: index and length, nothing else."""

    def __init__(self, images, labels):
        self.images, self.labels_, self.reads = images, labels, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.reads += 1
        return self.images[index], self.labels_[index]


class TF:
    """Quacks like a tf.data.Dataset."""

    def __init__(self, items, cardinality=-2):
        self.items, self.count = items, cardinality

    def cardinality(self):
        return self.count

    def as_numpy_iterator(self):
        return iter(self.items)


class Feature:
    def __init__(self, names=None):
        if names:
            self.names = names


class HF:
    """Quacks like a Hugging Face Dataset: rows by index, columns by name."""

    def __init__(self, features, rows):
        self.features, self.rows, self.reads = features, rows, 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        if isinstance(key, str):
            return [row[key] for row in self.rows]
        self.reads += 1
        return self.rows[key]


def pixels(split):
    return np.stack([np.asarray(decode(image)) for image in split.images])


def labels(n=12, classes=3):
    return [i % classes for i in range(n)]


def test_a_map_style_set_is_read_lazily():
    dataset = Mapped([Image.fromarray(x) for x in rgb()], labels())
    dataset.targets = labels()
    dataset.classes = ["x", "y", "z"]
    data = wrap(dataset)
    assert dataset.reads == 0
    assert data.classes == ("x", "y", "z")
    assert data.val.counts() == {"x": 1, "y": 1, "z": 1}
    index = int(data.val.names[0])
    np.testing.assert_array_equal(decode(data.val.images[0]), rgb()[index])
    assert dataset.reads == 1
    assert data.source.endswith("Mapped")


def test_labels_without_targets_come_from_the_samples():
    data = wrap(Mapped(rgb(), ["b", "a"] * 6), share=0)
    assert data.classes == ("a", "b")
    assert data.train.labels.tolist() == [1, 0] * 6


def test_targets_that_are_transformed_are_not_trusted():
    dataset = Mapped(rgb(), labels())
    dataset.targets, dataset.target_transform = [7] * 12, str
    assert wrap(dataset, share=0).classes == ("0", "1", "2")


def test_a_subset_of_a_set_with_targets():
    class Subset:
        def __init__(self, dataset, indices):
            self.dataset, self.indices = dataset, indices

        def __len__(self):
            return len(self.indices)

        def __getitem__(self, index):
            return self.dataset[self.indices[index]]

    base = Mapped(rgb(), labels())
    base.targets, base.classes = np.array(labels()), [("x", "ex"), "y", "z"]
    data = wrap(Subset(base, [5, 1, 9]), share=0)
    assert base.reads == 0
    assert data.train.labels.tolist() == [2, 1, 0]
    assert data.classes == ("x, ex", "y", "z")
    np.testing.assert_array_equal(pixels(data.train), rgb()[[5, 1, 9]])


@pytest.mark.parametrize("scale", [1, 255])
def test_torch_tensors_have_channels_first(scale):
    chw = rgb(4, (3, 7)).transpose(0, 3, 1, 2)
    images = [Tensor(x if scale == 1 else (x / np.float32(255))) for x in chw]
    data = wrap(Mapped(images, [Tensor(i % 2) for i in range(4)]), share=0)
    np.testing.assert_array_equal(pixels(data.train), rgb(4, (3, 7)))
    assert data.train.labels.tolist() == [0, 1, 0, 1]


def test_arrays_have_channels_last_unless_only_the_first_axis_fits():
    ambiguous, first = rgb(2, (3, 7)), rgb(2).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(pixels(wrap(Mapped(ambiguous, [0, 1]), share=0).train), ambiguous)
    np.testing.assert_array_equal(pixels(wrap(Mapped(first, [0, 1]), share=0).train), rgb(2))


def test_an_unreadable_sample_is_skipped_by_the_loader(preprocessing):
    class Broken(Mapped):
        def __getitem__(self, index):
            if index == 1:
                raise UnidentifiedImageError("cannot identify image file 'x.jpg'")
            return super().__getitem__(index)

    dataset = Broken(rgb(4), [0, 1, 0, 1])
    with pytest.raises(DataError, match=r"train\[1\] has no label, for it cannot be read: cannot identify"):
        wrap(dataset)
    dataset.targets = dataset.labels_
    loader = Loader(wrap(dataset, share=0).train, preprocessing, batch_size=4)
    assert next(loader.epoch(0)).indices.tolist() == [0, 2, 3]
    assert loader.skipped[0].reason == "cannot identify image file 'x.jpg'"


@pytest.mark.parametrize("batch", [None, 5])
def test_tf_data(batch):
    x, y = rgb(), np.array(labels())
    single = list(zip(x, y, strict=True))
    items = single if batch is None else [(x[i : i + batch], y[i : i + batch]) for i in range(0, 12, batch)]
    dataset = TF(items)
    dataset.class_names = ["x", "y", "z"]
    data = wrap(dataset, TF(single[:3]))
    np.testing.assert_array_equal(pixels(data.train), x)
    assert data.train.labels.tolist() == y.tolist()
    assert data.val.counts() == {"x": 1, "y": 1, "z": 1}


def test_grey_batches_and_rows_of_bytes():
    x = rgb()[..., 0]
    data = wrap(TF([(x, np.array(labels()))]), share=0)
    np.testing.assert_array_equal(pixels(data.train)[..., 1], x)
    rows = TF([{"image": x[0], "label": b"cat"}, {"image": x[1], "label": b"dog"}])
    assert wrap(rows, share=0).classes == ("cat", "dog")


def test_an_endless_data_set_is_refused():
    with pytest.raises(DataError, match=r"the train data set repeats for ever: leave out .repeat\(\)"):
        wrap(TF([], cardinality=-1))


def test_an_iterable_of_batches_like_a_torch_data_loader():
    class DataLoader:
        def __len__(self):
            return 2

        def __iter__(self):
            for half in (slice(0, 6), slice(6, 12)):
                yield [Tensor(rgb()[half].transpose(0, 3, 1, 2)), Tensor(np.array(labels())[half])]

    data = wrap(DataLoader(), share=0)
    np.testing.assert_array_equal(pixels(data.train), rgb())
    assert data.train.labels.tolist() == labels()


def test_hugging_face_columns_and_names():
    rows = [{"img": Image.fromarray(x), "label": y} for x, y in zip(rgb(), labels(), strict=True)]
    dataset = HF({"img": Feature(), "label": Feature(["x", "y", "z"])}, rows)
    data = wrap(dataset, share=0)
    assert dataset.reads == 0
    assert data.classes == ("x", "y", "z")
    np.testing.assert_array_equal(pixels(data.train), rgb())


def test_real_hugging_face():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y", "z"])})
    images = [Image.fromarray(x) for x in rgb()]
    dataset = datasets.Dataset.from_dict({"image": images, "label": labels()}, features=features)
    data = wrap(dataset, dataset.select(range(3)))
    assert data.classes == ("x", "y", "z")
    np.testing.assert_array_equal(pixels(data.train), rgb())
    assert len(data.val) == 3
    undecoded = dataset.cast_column("image", datasets.Image(decode=False))
    np.testing.assert_array_equal(pixels(wrap(undecoded, share=0).train), rgb())
    streamed = wrap(dataset.to_iterable_dataset(), share=0)
    assert streamed.classes == ("x", "y", "z")
    np.testing.assert_array_equal(pixels(streamed.train), rgb())


def test_named_columns():
    rows = [{"photo": x, "kind": y} for x, y in zip(rgb(), labels(), strict=True)]
    assert len(wrap(rows, image="photo", label="kind", share=0).train) == 12
    with pytest.raises(DataError, match="has no column 'label' or 'labels' or 'fine_label', only 'photo', 'kind'"):
        wrap(rows, image="photo")


def test_pairs_of_paths_and_arrays(tmp_path):
    Image.fromarray(rgb()[0]).save(tmp_path / "a.png")
    data = wrap([(str(tmp_path / "a.png"), "x"), (rgb()[1], "y")], share=0)
    np.testing.assert_array_equal(pixels(data.train), rgb()[:2])


def test_classes_given_are_the_classes():
    data = wrap([(x, "y") for x in rgb(3)], share=0, classes=["x", "y", "z"])
    assert data.train.labels.tolist() == [1, 1, 1]
    with pytest.raises(DataError, match=r"label 3 of '3' in train is not among the 3 classes"):
        wrap([(x, i) for i, x in enumerate(rgb(4))], share=0, classes=["x", "y", "z"])
    with pytest.raises(DataError, match=r"class 'x' .* is named twice"):
        wrap([(x, "x") for x in rgb(3)], classes=["x", "y", "x"])


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (7, "train is a int: give something that yields"),
        ([rgb()[0]], "is a ndarray: give pairs"),
        ([(rgb()[0], 1, 2)], "is a tuple: give pairs"),
        ([(rgb()[0], 1.5)], "label of train.0. is 1.5: give an integer or a string"),
        ([(rgb()[0], np.eye(3)[0])], r"label of train.0. has shape \(3,\): give one class an image \(argmax"),
        ([("x.png", 0), ("x.png", "a")], "mixes numbers and strings as labels"),
        ([], "list has no training images"),
    ],
)
def test_what_is_no_data_set(dataset, message):
    with pytest.raises(DataError, match=message):
        wrap(dataset)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (rgb()[0] / 127.5 - 1, r"floats from -1 to .* not normalised \(the model does that\)"),
        (rgb()[0].astype(int), "pixels of train.0. are int64: convert them to uint8"),
        (rgb(2), r"train.0. has shape \(2, 10, 9, 3\)"),
        (object(), "train.0. is a object: give a path, a Pillow image, bytes or an array"),
    ],
)
def test_what_is_no_image(image, message):
    data = wrap([(image, 0), (rgb()[0], 1)], share=0)
    with pytest.raises(DataError, match=message):
        data.train.images[0]


def test_arrays_of_every_accepted_kind():
    x, y = rgb(), np.array(labels())
    np.testing.assert_array_equal(pixels(arrays(x, y, val=0).train), x)
    np.testing.assert_array_equal(pixels(arrays(x / np.float32(255), y, val=0).train), x)
    np.testing.assert_array_equal(pixels(arrays(x[..., 0], y, val=0).train), x[..., [0, 0, 0]])
    np.testing.assert_array_equal(pixels(arrays(x[..., :1], y[:, None], val=0).train), x[..., [0, 0, 0]])
    np.testing.assert_array_equal(pixels(arrays(Tensor(x.transpose(0, 3, 1, 2)), y, val=0).train), x)


def test_array_labels_and_validation():
    x = rgb()
    data = arrays(x, [30, 4, 30] * 4, x[:2], [4, 30])
    assert data.classes == ("4", "30")
    assert data.train.labels.tolist() == [1, 0, 1] * 4
    assert data.val.labels.tolist() == [0, 1]
    assert arrays(x, np.array(["b", "a"] * 6)).classes == ("a", "b")
    assert arrays(x, [0, 2] * 6, classes=["p", "q", "r"], val=0).train.counts() == {"p": 6, "q": 0, "r": 6}
    assert arrays(x, labels(), val=0.5).val.counts() == {"0": 2, "1": 2, "2": 2}


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (rgb().transpose(0, 3, 1, 2), labels(), r"channels come last, so give np.moveaxis\(images, 1, -1\)"),
        (rgb()[..., :2], labels(), r"shape \(12, 10, 9, 2\): give \(N, H, W, 3\) or \(N, H, W\)"),
        (rgb().astype(np.float32), labels(), r"the train images are floats from 0 to 255: give uint8"),
        (np.full((2, 4, 4), np.nan), [0, 1], r"pixels of .* are NaN: give colours"),
        (rgb(), labels(11), "train has 12 images and 11 labels: give as many"),
        (rgb(), np.eye(12), r"label of train has shape \(12,\): give one class"),
        (rgb(), np.linspace(0, 1, 12), "label of train is 0.0: give an integer"),
    ],
)
def test_wrong_arrays(x, y, message):
    with pytest.raises(DataError, match=message):
        arrays(x, y)


def test_validation_images_need_labels():
    with pytest.raises(UsageError, match="x_val and y_val belong together"):
        arrays(rgb(), labels(), rgb())
    with pytest.raises(DataError, match="label 9 of '0' in val is not among the 3 classes"):
        arrays(rgb(), labels(), rgb(1), [9])
