"""Fuzzing: whatever the bytes, a reader gives a value or one line that says what is wrong, in bounded time.

XFER_FUZZ=100000 python -m pytest tests/fuzz      runs so many examples of each reader, with fresh seeds: hours
"""

import os
import pickle
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xfer
from tests.core.security import files, runs
from tests.core.traces.craft import craft
from tests.core.weights import test_h5 as h5
from tests.core.weights.craft import legacy, state_dict, storage, tensor, zipped
from tests.core.weights.test_pth_attacks import CALLS, LIES
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.errors import XferError
from xfer.runtime import checksums
from xfer.weights import read_weights
from xfer.workflows.config import read_toml, run_settings
from xfer.workflows.ensemble import Ensemble, Member

EXAMPLES = int(os.environ.get("XFER_FUZZ", "0"))
SECONDS = 20.0  # generous: most take a thousandth
SETTINGS = settings(
    max_examples=EXAMPLES or 150,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
FOUR = struct.pack("<4f", 1, 2, 3, 4)
NUMBERS = (0, 1, 255, 1 << 15, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes], dictionary: tuple[bytes, ...] = ()) -> bytes:
    """A seed with a few changes: bits, bytes, numbers, micro_batches of its own or of others, cuts."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.sampled_from(("bit", "byte", "number", "copy", "insert", "delete", "cut", "word")))
        if kind == "bit" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "byte" and content:
            content[at] = draw(st.integers(0, 255))
        elif kind == "number":
            width = draw(st.sampled_from((1, 2, 4, 8)))
            value = draw(st.sampled_from((*NUMBERS, len(content), at))) % (1 << 8 * width)
            content[at : at + width] = value.to_bytes(width, "little")
        elif kind in ("copy", "insert"):
            other = draw(st.sampled_from(seeds))
            start, length = draw(st.integers(0, len(other))), draw(st.integers(0, 64))
            micro_batch = other[start : start + length]
            content[at : at + (len(micro_batch) if kind == "copy" else 0)] = micro_batch
        elif kind == "delete":
            del content[at : at + draw(st.integers(1, 64))]
        elif kind == "cut":
            del content[at:]
        elif dictionary:
            content[at:at] = draw(st.sampled_from(dictionary))
    return bytes(content)


def check(read, path: Path, content: bytes) -> None:
    """A value, or an XferError in one line, in bounded time."""
    path.write_bytes(content)
    start = time.monotonic()
    try:
        read(path)
    except XferError as error:
        text = str(error)
        assert text
        assert text.isprintable()
    finally:
        assert time.monotonic() - start < SECONDS


GOOD = state_dict(w=tensor(storage()), v=tensor(storage(), shape=(2, 2), stride=(2, 1)))
PICKLES = [GOOD, pickle.dumps({"a": [1, (2.5, None)], "b": {"c": b"d"}}, 4), *LIES.values(), *CALLS.values()]
OPCODES = tuple(bytes([code]) for code in b"().012FIJKLMNPQRSTUVXabcdeghijlopqrstu}]BC\x80\x81\x82\x85\x86\x87\x88\x89")
OPCODES += tuple(bytes([code]) for code in range(0x8A, 0x99))
WORDS = (*OPCODES, storage(), tensor(storage()), b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n", b")R")


@SETTINGS
@given(content=mutated([zipped(GOOD, {"data/0": FOUR}), legacy(GOOD, {"0": (4, FOUR)}), files.overlapping()]))
def test_pth(content, folder):
    check(read_weights, folder / "x.pth", content)


@SETTINGS
@given(program=mutated(PICKLES, WORDS), form=st.sampled_from(["zip", "legacy"]))
def test_pickles_in_pth(program, form, folder):
    """The archive is whole, so that every program is run."""
    content = zipped(program, {"data/0": FOUR}) if form == "zip" else legacy(program, {"0": (4, FOUR)})
    check(read_weights, folder / "x.pth", content)


@SETTINGS
@given(parts=st.lists(st.sampled_from(WORDS) | st.binary(max_size=9), max_size=40))
def test_programs_of_any_instructions(parts, folder):
    check(read_weights, folder / "x.pth", zipped(b"\x80\x02" + b"".join(parts) + b".", {"data/0": FOUR}))


TENSORS = [content for content in files.SAFETENSORS.values() if len(content) < 4096]
TENSORS.append(files.header({"a": files.entry(), "b": files.entry((2, 2), (16, 32)), "__metadata__": {}}, bytes(32)))
JSON = (b"[", b"]", b"{", b"}", b'"', b",", b"1e999", b"NaN", b"-1", b"null", b"1" * 30, b'"F32"', b"\\ud800", b"\xff")


@SETTINGS
@given(content=mutated(TENSORS, JSON), relength=st.booleans())
def test_safetensors(content, relength, folder):
    if relength and len(content) > 8:  # so that the header ends where it did
        end = content.rfind(b"}") + 1
        content = struct.pack("<Q", max(0, end - 8)) + content[8:]
    check(read_weights, folder / "x.safetensors", content)


@SETTINGS
@given(content=mutated([b'{"metadata": {}, "weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}'], JSON))
def test_indexes_of_safetensors(content, folder):
    (folder / "one.safetensors").write_bytes(TENSORS[-1])
    check(read_weights, folder / "model.safetensors.index.json", content)


@pytest.fixture(scope="module")
def seeds(folder):
    """Small files of every layout, by their suffix."""
    h5.legacy(folder / "1.h5")
    h5.legacy(folder / "2.h5", "model_weights")
    files.keras(folder / "3.keras")
    with zipfile.ZipFile(folder / "3.keras") as archive:
        inner = archive.read("model.weights.h5")
    return {
        "h5": [(folder / f"{i}.h5").read_bytes() for i in (1, 2)] + [inner],
        "keras": (folder / "3.keras").read_bytes(),
    }


@SETTINGS
@given(data=st.data(), where=st.sampled_from(["anywhere", "where something is"]))
def test_h5(data, where, seeds, folder):
    content = data.draw(mutated(seeds["h5"]))
    if where == "where something is":  # most of a small file is zeros
        content = bytearray(data.draw(st.sampled_from(seeds["h5"])))
        places = np.flatnonzero(np.frombuffer(content, np.uint8))
        for _ in range(data.draw(st.integers(1, 5))):
            at = int(data.draw(st.sampled_from(places.tolist())))
            value = data.draw(st.sampled_from((*NUMBERS, *places[:40].tolist())) | st.integers(0, 255))
            width = data.draw(st.sampled_from((1, 1, 2, 8)))
            content[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    check(read_weights, folder / "x.h5", bytes(content))


@SETTINGS
@given(data=st.data())
def test_keras(data, seeds, folder):
    check(read_weights, folder / "x.keras", data.draw(mutated([seeds["keras"]])))


@pytest.fixture(scope="module")
def run(folder):
    runs.build().save(folder / "run")
    Ensemble((Member(runs.build()),)).save(folder / "ensemble")
    return folder


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def change(document, place: list[int], value) -> None:
    """Put a value somewhere into a document."""
    for index in place:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = keys[index % len(keys)]
        if not isinstance(document[key], (dict, list)) or index % 3 == 0:
            document[key] = value
            return
        document = document[key]


@SETTINGS
@given(edits=st.lists(st.tuples(st.lists(st.integers(0, 99), min_size=1, max_size=4), VALUES), min_size=1, max_size=3))
@pytest.mark.parametrize("name", ["run/manifest.json", "ensemble/ensemble.json"])
def test_manifests_under_a_good_seal(name, edits, run):
    path = run / name
    good = path.read_bytes()
    document = checksums.without_checksum(good)
    for place, value in edits:
        change(document, place, value)
    try:
        check(lambda p: runs_load(p.parent), path, checksums.with_checksum(document))
    finally:
        path.write_bytes(good)


def runs_load(path: Path) -> None:
    """The model of a run; of an ensemble what it says, for its members need a registered backend."""
    if path.name == "ensemble":
        xfer.workflows.ensemble_files.read_ensemble(path)
    else:
        xfer.load(path, backend=runs.NumpyBackend())


@SETTINGS
@given(data=st.data())
def test_manifests_of_any_bytes(data, run):
    path = run / "run" / "manifest.json"
    good = path.read_bytes()
    old = good.replace(b'"format": 2', b'"format": 1')[80:]
    content = data.draw(mutated([good, b"{" + old], JSON))
    try:
        check(lambda p: open_checkpoint(p.parent), path, content)
    finally:
        path.write_bytes(good)


SKOPS = ("ObjectNode", "DictNode", "NdArrayNode", "sklearn.linear_model._logistic", "numpy", "TypeNode", "[]", "{}")


@SETTINGS
@given(data=st.data())
def test_estimators(data, folder):
    from sklearn.linear_model import LogisticRegression

    from xfer.checkpoints import estimators

    fitted = LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])
    content = data.draw(mutated([estimators.dumps(fitted)], tuple(word.encode() for word in SKOPS)))
    check(lambda path: estimators.loads(path.read_bytes(), str(path)), folder / "x.skops", content)


TABLE = b'image,label,split\n"a.png",x,train\nb.png,y,val\n'


@SETTINGS
@given(
    content=mutated(
        [TABLE, *(t for t in files.TABLES.values() if len(t) < 4096)], (b'"', b"\0", b",", b"\r\n", b"\xff")
    )
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_tables(suffix, content, folder):
    for name in ("a.png", "b.png"):
        (folder / name).touch()
    check(xfer.data.manifest, folder / f"x{suffix}", content)


CONFIG = b"""data = "photos"  # a folder
epochs = 3
lr = 1e-3
hidden = [64, 32]
class_weights = {ant = 1.0, bee = 4}
[tasks]
age = "regression"
"""
TOML = (
    b"[",
    b"[[",
    b"]",
    b"=",
    b'"""',
    b"'",
    b"1979-05-27T07:32:00Z",
    b"inf",
    b"nan",
    b"0x",
    b"\\u",
    b"{",
    b"." * 9,
    b"9" * 99,
)


@SETTINGS
@given(content=mutated([CONFIG, *(c for c in files.CONFIGS.values() if len(c) < 200)], TOML))
def test_configurations(content, folder):
    check(lambda path: run_settings(read_toml(path)), folder / "x.toml", content)


@SETTINGS
@given(
    values=st.dictionaries(st.sampled_from(sorted(xfer.specs.settings.RunSettings.model_fields)), VALUES, max_size=6)
)
def test_configurations_of_any_values(values, folder):
    check(lambda path: run_settings({"data": "x"} | values), folder / "x.toml", b"")


@pytest.fixture(scope="module")
def trace(folder):
    return craft(folder / "trace")


@settings(SETTINGS, max_examples=EXAMPLES or 40)
@given(data=st.data(), name=st.sampled_from(["trace.json", "step-0.safetensors"]))
def test_traces(data, name, trace, folder):
    """A damaged trace is compared with a whole one, or named."""
    other = folder / "damaged"
    other.mkdir(exist_ok=True)
    for path in trace.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    content = data.draw(mutated([(trace / name).read_bytes()]))
    check(lambda path: xfer.diff(trace, path.parent), other / name, content)
