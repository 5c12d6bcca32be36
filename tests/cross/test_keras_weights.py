"""Networks of keras.applications, saved by Keras as HDF5, give Keras's logits on both backends."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

NETWORKS = {
    "ResNet50": ("resnet50", 64),
    "VGG16": ("vgg16", 224),
    "DenseNet121": ("densenet121", 64),
    "InceptionV3": ("inception_v3", 96),
    "MobileNet": ("keras_mobilenet", 64),
    "MobileNetV2": ("mobilenet_v2", 64),
}
pytestmark = pytest.mark.long  # tests/keras/test_foreign_weights.py reads files of a small network
LAYOUTS = ("h5", "weights.h5")
CASES = [(n, layout) for n in NETWORKS for layout in LAYOUTS if (n, layout) != ("VGG16", "weights.h5")]  # half a GB
CASES += [("MobileNetV2", layout) for layout in ("nested.h5", "nested.keras")]
SMALL = ("MobileNetV2",)
LOAD = """
import sys, numpy as np, xfer
backend, folder, *models = sys.argv[1:]
for model in models:
    network, name, size, layout = model.split(":")
    path, size = f"{folder}/{network}.{layout}", int(size)
    net = xfer.load(name, backend=backend, weights=path, image_size=size, precision="fp64")
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    np.save(f"{folder}/{network}.{layout}.{backend}.npy", net.logits(images))
"""


def saved(out, networks):
    """Files that Keras saves, and the logits of each network by Keras and by both backends."""
    wanted = [f"{network}:{NETWORKS[network][1]}" for network in networks]
    subprocess.run([sys.executable, str(Path(__file__).with_name("applications.py")), str(out), *wanted], check=True)
    models = [f"{n}:{NETWORKS[n][0]}:{NETWORKS[n][1]}:{layout}" for n, layout in CASES if n in networks]
    for backend in ("torch", "tensorflow"):
        subprocess.run([sys.executable, "-c", LOAD, backend, str(out), *models], check=True)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("small"), SMALL)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("large"), [network for network in NETWORKS if network not in SMALL])


@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
@pytest.mark.parametrize(("network", "layout"), [case for case in CASES if case[0] in SMALL])
def test_logits_are_keras(folder, network, layout, backend):
    same_logits(folder, network, layout, backend)


@pytest.mark.long
@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
@pytest.mark.parametrize(("network", "layout"), [case for case in CASES if case[0] not in SMALL])
def test_logits_of_large_networks_are_keras(large, network, layout, backend):
    same_logits(large, network, layout, backend)


def same_logits(folder, network, layout, backend):
    theirs = np.load(folder / f"{network}.npy")
    ours = np.load(folder / f"{network}.{layout}.{backend}.npy")
    assert theirs.std() > 0
    assert np.abs(ours - theirs).max() <= 1e-9 * np.abs(theirs).max()


def test_torch_reads_them_without_keras(folder):
    code = (
        "import sys, xfer\n"
        f"path = r'{folder / 'MobileNetV2.h5'}'\n"
        "net = xfer.load('mobilenet_v2', backend='torch', weights=path, classes=['a', 'b'])\n"
        "assert net.name == 'keras_mobilenet_v2' and net.classes == ('a', 'b')\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
