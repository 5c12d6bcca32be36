"""Which tensors of a checkpoint are read, and under which names."""

import argparse
import json
import pathlib
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.core.weights.craft import storage, tensor, text, zipped
from xfer.errors import WeightsError
from xfer.weights import by_children, read_weights, without_prefix
from xfer.weights.malformed import MalformedError
from xfer.weights.parts import KEYS, state_dict

ONE, TWO = {"w": 1.0}, {"w": 2.0}


def chosen(loaded, part=""):
    """Floats stand for tensors."""
    return state_dict(loaded, lambda value: isinstance(value, float), part, "x.pth", [])


@pytest.mark.parametrize("key", KEYS)
def test_the_usual_keys(key):
    assert chosen({"epoch": 3, key: ONE, "optimizer": {"state": {0: {"momentum": 9.0}}}}) == ONE


@pytest.mark.parametrize(
    "loaded",
    [
        {"model": ONE, "model_ema": TWO},  # torchvision's references
        {"state_dict": ONE, "state_dict_ema": TWO},  # timm
        {"model": ONE, "ema": {"module": TWO, "updates": 4}},
    ],
)
def test_an_average_is_taken_and_said(loaded, capsys):
    assert chosen(loaded) == TWO
    said = capsys.readouterr().err
    first, second = loaded
    assert said.startswith(f"x.pth has {second}")
    assert said.endswith(f"weights='x.pth#{first}' takes another\n")
    assert chosen(loaded, first) == ONE
    assert capsys.readouterr().err == ""


def test_a_part_is_a_key_or_a_prefix():
    loaded = {"state_dict": {"student.w": 1.0, "teacher.w": 2.0, "teacherless": 3.0}, "teacher": {"w": 4.0}}
    assert chosen(loaded, "student") == {"student.w": 1.0}
    assert chosen(loaded, "teacher") == {"w": 4.0}
    assert chosen(loaded, "state_dict.teacher") == {"teacher.w": 2.0}
    with pytest.raises(MalformedError, match="has nothing under 'studen'"):
        chosen(loaded, "studen")


def test_no_usual_key_lists_those_that_there_are():
    with pytest.raises(MalformedError, match=r"tensors under student, teacher, no usual key: .*'x\.pth#student'"):
        chosen({"student": ONE, "teacher": TWO, "args": {"lr": 1}})
    with pytest.raises(MalformedError, match="it has no state dict: save model"):
        chosen({"args": {"lr": 1}})


class Plain:
    """An object of a class of the user's, with state that is set after it is made."""

    def __init__(self):
        self.inner = {"a": [1, 2]}


class Listed(list):
    pass


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("/x")), Plain(), Listed([1, (2,)]), np.float64(3)],
    ids=lambda value: type(value).__name__,
)
def test_objects_beside_the_tensors_are_skipped(tmp_path, value, protocol, capsys):
    """As Lightning saves hyper-parameters and fastai its optimizer; nothing is made of them."""
    beside = pickle.dumps(value, protocol)[2:-1]
    program = b"\x80" + bytes([protocol]) + b"}(" + text("args") + beside + text("model") + b"}" + text("w")
    program += tensor(storage()) + b"su."
    (tmp_path / "x.pth").write_bytes(zipped(program, {"data/0": struct.pack("<4f", 1, 2, 3, 4)}))
    assert list(read_weights(tmp_path / "x.pth")) == ["w"]
    assert "x.pth: skipped objects beside the tensors: " in capsys.readouterr().err


def arrays(*names, shape=(1,)):
    return {name: np.zeros(shape, np.float32) for name in names}


NETWORK = ("stem.weight", "stem.bias", "layer1.0.weight", "layer1.1.weight", "fc.weight", "num.num_batches_tracked")
BLOCKS = ("stem", "layer1", "fc")


def inner(given):
    def block_of(name):
        return name.partition(".")[0] if name in NETWORK else None

    return without_prefix(given, block_of, len(BLOCKS), "x.pth")


@given(
    parts=st.lists(st.sampled_from(["module", "_orig_mod", "model", "backbone", "encoder", "net", "0"]), max_size=4),
    others=st.lists(st.sampled_from(["n_averaged", "loss.weight", "head.0.bias"]), unique=True),
)
@settings(derandomize=True, deadline=None)
def test_prefixes_alone_and_nested(parts, others):
    prefix = "".join(f"{part}." for part in parts)
    found = inner(arrays(*(prefix + name for name in NETWORK), *others))
    assert found.prefix == prefix
    assert set(found.arrays) == {*NETWORK, *(() if prefix else others)}
    assert set(found.others) == (set(others) if prefix else set())


def test_a_compiled_child():
    assert set(inner(arrays(*(f"model.{n.replace('.', '._orig_mod.', 1)}" for n in NETWORK))).arrays) == set(NETWORK)


def test_the_network_twice_is_refused():
    with pytest.raises(WeightsError, match=r"under ema\., model\.: choose with weights='x\.pth#"):
        inner(arrays(*(f"{prefix}.{name}" for prefix in ("model", "ema") for name in NETWORK)))
    with pytest.raises(WeightsError, match=r"under no prefix, ema\.: choose with weights='x\.pth#ema'"):
        inner(arrays(*(prefix + name for prefix in ("", "ema.") for name in NETWORK)))


def test_one_block_alone_is_not_the_network():
    """The layers of a stage may have the names of a stem."""
    assert inner(arrays("0.stem.weight", "0.stem.bias", "1.stem.weight", "1.x")).prefix == ""


SHAPES = {"stem.weight": (2,), "stem.bias": (2,), "layer1.0.weight": (3, 2), "layer1.0.bias": (3,), "fc.weight": (9, 3)}


def numbered(**changes):
    found = {"0.weight": (2,), "0.bias": (2,), "4.0.weight": (3, 2), "4.0.bias": (3,)} | changes
    return {name: np.full(shape, i, np.float32) for i, (name, shape) in enumerate(found.items()) if shape}


@pytest.mark.parametrize("prefix", ["", "0.", "model.features."])
def test_children_by_number(prefix):
    given = {prefix + name: array for name, array in numbered(**{"10.weight": (5, 3)}).items()}
    found = by_children(given, SHAPES, "fc")
    assert {name: int(array.flat[0]) for name, array in found.items()} == {
        "stem.weight": 0,
        "stem.bias": 1,
        "layer1.0.weight": 2,
        "layer1.0.bias": 3,
    }


@pytest.mark.parametrize(
    "given",
    [
        numbered(**{"0.bias": None}),
        numbered(**{"0.weight": (3,)}),
        numbered(**{"4.0.scale": (3,)}),
        numbered(**{"2.weight": (2,)}),  # a child between the network's
        {f"{4 - int(n[0])}{n[1:]}": array for n, array in numbered().items()},  # another order
    ],
)
def test_children_that_differ_are_not_guessed(given):
    assert by_children(given, SHAPES, "fc") is None


def shard(folder, weight_map=None, **files):
    for name, content in files.items():
        save_file(content, folder / f"{name}.safetensors")
    names = {tensor: f"{name}.safetensors" for name, content in files.items() for tensor in content}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map or names}))
    return index


def test_shards(tmp_path):
    one, two = arrays("a", "c"), {"b": np.arange(6, dtype=np.float16).reshape(2, 3)}
    found = read_weights(shard(tmp_path, m1=one, m2=two))
    assert set(found) == {"a", "b", "c"}
    np.testing.assert_array_equal(found["b"], two["b"])


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../m1.safetensors"}, "names a file outside its folder"),
        ({"a": "/etc/passwd"}, "names a file outside its folder"),
        ({"a": "m1.safetensors"}, r"m1\.safetensors does not have the tensors .*: c"),  # one that is not mapped
        ({"a": "m1.safetensors", "c": "m1.safetensors", "d": "m1.safetensors"}, "does not have the tensors .*: d"),
        ({"a": "m1.safetensors", "c": "m2.safetensors"}, "does not have the tensors"),
        ({"a": "m3.safetensors"}, r"m3\.safetensors, which the index names, is missing"),
        ({"a": "folder"}, "folder is no plain file"),
        ({"a": "model.safetensors.index.json"}, r"model\.safetensors\.index\.json: its header has"),
        ({"a": 1}, "JSON without a weight_map"),
        (["a"], "JSON without a weight_map"),
    ],
)
def test_an_index_that_lies(tmp_path, weight_map, message):
    (tmp_path / "folder").mkdir()
    index = shard(tmp_path, weight_map, m1=arrays("a", "c"), m2=arrays("c"))
    with pytest.raises(WeightsError, match=message) as caught:
        read_weights(index)
    assert "\n" not in str(caught.value)


def test_a_tensor_twice_in_the_index(tmp_path):
    index = shard(tmp_path, m1=arrays("a"))
    index.write_text('{"weight_map": {"a": "m1.safetensors", "a": "m1.safetensors"}}')
    with pytest.raises(WeightsError, match="says a key twice"):
        read_weights(index)
