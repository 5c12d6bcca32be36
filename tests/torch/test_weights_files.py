"""Files that torch itself wrote, read without it, bit by bit; and the ways in which a file does not fit."""

import numpy as np
import pytest
import torch
import torchvision

import xfer
from xfer.errors import WeightsError
from xfer.weights import read_weights

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def tensors():
    """Every dtype and every way in which a tensor may lie in its storage."""
    shared = torch.randn(20)
    return {
        "double": torch.randn(3, 4).double(),
        "float": torch.randn(2, 3, 4, 5),
        "half": torch.randn(5).half(),
        "bfloat16": torch.randn(7, 3).bfloat16(),
        "long": torch.arange(6).reshape(2, 3),
        "int": torch.arange(3, dtype=torch.int32),
        "short": torch.arange(3, dtype=torch.int16),
        "char": torch.arange(-2, 2, dtype=torch.int8),
        "byte": torch.arange(250, 255, dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "transposed": torch.randn(4, 6).t(),
        "every second": torch.arange(10.0)[::2],
        "shared head": shared[2:7],
        "shared tail": shared[5:],
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }


def check(path, expected):
    found = read_weights(path)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        tensor = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        assert found[name].shape == tuple(tensor.shape), name
        assert found[name].dtype == tensor.numpy().dtype, name
        assert found[name].tobytes() == tensor.contiguous().numpy().tobytes(), name
        assert found[name].flags.owndata or found[name].base.flags.owndata


@FORMATS
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
def test_every_tensor(tmp_path, zipped, key):
    expected = tensors()
    extra = {"epoch": 3, "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(4)}}}}
    saved = expected if key is None else {key: expected, **extra}
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    check(tmp_path / "x.pth", expected)


@FORMATS
def test_a_real_state_dict(tmp_path, zipped):
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    check(tmp_path / "x.pth", state)


def test_safetensors_with_bfloat16(tmp_path):
    from safetensors.torch import save_file

    expected = {"a": torch.randn(3, 2).bfloat16(), "b": torch.randn(4)}
    save_file(expected, tmp_path / "x.safetensors")
    check(tmp_path / "x.safetensors", expected)


@FORMATS
def test_a_pickled_module_is_refused(tmp_path, zipped):
    torch.save(torchvision.models.resnet18(), tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"it asks for torchvision\.models\.resnet\.ResNet"):
        read_weights(tmp_path / "x.pth")


def test_a_torchscript_archive_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="TorchScript archive, which holds code"):
        read_weights(tmp_path / "x.pt")


@FORMATS
def test_every_truncation_is_refused(tmp_path, zipped):
    torch.save({"a": torch.randn(50), "b": torch.randn(3)}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "x.pth").read_bytes()
    for length in range(0, len(whole) - 1, 37):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_weights(tmp_path / "cut.pth")


def without(state, name):
    return {k: v for k, v in state.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "layer4.1.bn2.bias"), r"lacks 1 tensors of resnet18: layer4\.1\.bn2\.bias"),
        (lambda s: {**s, "extra.weight": torch.zeros(1)}, r"has 1 tensors that resnet18 does not know: extra\.weight"),
        (
            lambda s: {**s, "conv1.weight": torch.zeros(64, 1, 7, 7)},
            r"conv1\.weight \(64, 1, 7, 7\) for \(64, 3, 7, 7\)",
        ),
        (lambda s: {**s, "bn1.bias": torch.full((64,), torch.nan)}, r"NaN or infinity in 1 tensors: bn1\.bias"),
        (lambda s: torchvision.models.vgg11().state_dict(), "is not a resnet18: only 0 of its 102 tensors"),
    ],
    ids=["missing", "extra", "shape", "nan", "architecture"],
)
def test_what_does_not_fit_says_so(tmp_path, change, message):
    torch.save(change(torchvision.models.resnet18().state_dict()), tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=message) as caught:
        xfer.load("resnet18", backend="torch", weights=tmp_path / "x.pth")
    assert "\n" not in str(caught.value)


def test_a_fine_tuned_file_keeps_its_classes(tmp_path):
    net = torchvision.models.resnet18(num_classes=2).eval()
    torch.save(net.state_dict(), tmp_path / "mine.pth")
    model = xfer.load("resnet18", backend="torch", weights=tmp_path / "mine.pth", image_size=32, precision="fp32")
    assert model.classes == ("0", "1")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    with torch.inference_mode():
        np.testing.assert_allclose(model.logits(images), net(model.normalise(images)).numpy(), rtol=1e-4, atol=1e-5)
