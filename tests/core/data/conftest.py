from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfer.specs.preprocessing import Preprocessing


@pytest.fixture
def preprocessing():
    return Preprocessing(size=32, resize=36)


@pytest.fixture
def photo():
    """A maker of smooth, asymmetric RGB images that differ by seed."""

    def make(seed=0, size=(48, 40)):
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
        return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)

    return make


@pytest.fixture
def tree(tmp_path, photo):
    """A maker of image files: {"train/ant": 3} writes train/ant/0.png to 2.png."""

    def make(counts, suffix="png") -> Path:
        for where, count in counts.items():
            (tmp_path / where).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                photo(i).save(tmp_path / where / f"{i}.{suffix}")
        return tmp_path

    return make
