"""Real torch data sets through `wrap`; what they must be is in tests/core/data/test_wrapped.py."""

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset  # noqa: E402
from torchvision.datasets import FakeData, ImageFolder  # noqa: E402
from torchvision.transforms import Compose, Normalize, PILToTensor, ToTensor  # noqa: E402

from xfer.data import arrays, folder, load, wrap  # noqa: E402
from xfer.data.images.decode import decode  # noqa: E402
from xfer.errors import DataError  # noqa: E402


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (12, 10, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def pixels(split):
    return np.stack([np.asarray(decode(image)) for image in split.images])


@pytest.mark.parametrize("transform", [None, PILToTensor(), ToTensor()])
def test_image_folder_is_the_folder(root, transform):
    ours, theirs = folder(root, val=0), wrap(ImageFolder(root, transform), share=0)
    assert theirs.classes == ours.classes == ("ant", "bee")
    assert theirs.train.labels.tolist() == ours.train.labels.tolist()
    np.testing.assert_array_equal(pixels(theirs.train), pixels(ours.train))


def test_normalised_images_are_refused(root):
    transform = Compose([ToTensor(), Normalize([0.5] * 3, [0.5] * 3)])
    data = load(ImageFolder(root, transform), val=0)
    with pytest.raises(DataError, match=r"floats from -.* not normalised \(the model does that\)"):
        data.train.images[0]


def test_subset_data_loader_and_tensors(root):
    whole = ImageFolder(root, PILToTensor())
    subset = wrap(Subset(whole, [4, 0]), share=0)
    assert (subset.classes, subset.train.labels.tolist()) == (("ant", "bee"), [1, 0])
    np.testing.assert_array_equal(pixels(subset.train), pixels(folder(root, val=0).train)[[4, 0]])

    loaded = wrap(DataLoader(whole, batch_size=4), share=0, classes=whole.classes)
    np.testing.assert_array_equal(pixels(loaded.train), pixels(folder(root, val=0).train))

    x = torch.stack([image for image, _ in whole])
    y = torch.tensor(whole.targets)
    for data in (wrap(TensorDataset(x, y), share=0), arrays(x, y, val=0), load((x, y), val=0)):
        np.testing.assert_array_equal(pixels(data.train), pixels(folder(root, val=0).train))
        assert data.train.labels.tolist() == whole.targets


def test_a_set_without_targets_and_a_stream():
    fake = FakeData(6, (3, 9, 9), num_classes=2, transform=PILToTensor())

    class Stream(IterableDataset):
        def __iter__(self):
            return (fake[i] for i in range(6))

    mapped, streamed = wrap(fake, share=0), wrap(Stream(), share=0)
    assert mapped.train.labels.tolist() == streamed.train.labels.tolist() == [int(fake[i][1]) for i in range(6)]
    np.testing.assert_array_equal(pixels(mapped.train), pixels(streamed.train))
