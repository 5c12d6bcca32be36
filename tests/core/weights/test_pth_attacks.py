"""Files that attack the reader: each is refused in one line, nothing runs, and the reader is as it was."""

import os
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.weights.craft import legacy, number, state_dict, storage, tensor, text, zipped
from xfer.errors import WeightsError
from xfer.weights import read_weights

FOUR = struct.pack("<4f", 1, 2, 3, 4)
GOOD = state_dict(w=tensor(storage()))
FORMATS = {"zip": lambda p: zipped(p, {"data/0": FOUR}), "legacy": lambda p: legacy(p, {"0": (4, FOUR)})}


class Call:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def reduced(function, *arguments, protocol=2):
    return pickle.dumps({"w": Call(function, *arguments)}, protocol)


CANARY = "import pathlib; pathlib.Path('canary').touch()"
CALLS = {
    "system": reduced(os.system, "touch canary"),
    "system, protocol 0": reduced(os.system, "touch canary", protocol=0),
    "system, protocol 4": reduced(os.system, "touch canary", protocol=4),
    "exec": reduced(exec, CANARY),
    "eval": reduced(eval, "open('canary', 'w')"),
    "popen": reduced(subprocess.Popen, ["touch", "canary"]),
    "nested": pickle.dumps({"state_dict": {"a": [{"b": (Call(os.system, "touch canary"),)}]}}, 2),
    "INST": b"(S'touch canary'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch canary'\no.",
    "NEWOBJ": b"\x80\x02cos\nsystem\n(S'touch canary'\nt\x81.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch canary\x85R.",
    "EXT": b"\x80\x02\x82\x01.",
    "a builtin by another name": b"c__builtin__\ngetattr\n(cos\nsystem\ntR.",
    "torch.load": b"\x80\x02ctorch\nload\n(S'canary'\ntR.",
    "attribute of an allowed name": b"\x80\x04\x8c\x0ccollections\x8c\x14OrderedDict.fromkeys\x93.",
}


@pytest.mark.parametrize("wrap", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("program", CALLS.values(), ids=CALLS)
def test_calls_are_refused_and_nothing_runs(program, wrap, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pth"
    path.write_bytes(wrap(program))
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]


@pytest.mark.parametrize("wrap", FORMATS.values(), ids=FORMATS)
def test_a_call_beside_a_tensor_is_named_and_nothing_runs(wrap, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    call = reduced(os.system, "touch canary")[2:-1]
    (tmp_path / "x.pth").write_bytes(wrap(b"\x80\x02}(" + text("w") + tensor(storage()) + text("call") + call + b"u."))
    assert list(read_weights(tmp_path / "x.pth")) == ["w"]
    assert "skipped objects beside the tensors: posix.system" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]


def test_auditing_sees_no_import_and_no_exec(tmp_path):
    """The interpreter's own audit events while all attacks are read, in a process of their own."""
    for i, program in enumerate(CALLS.values()):
        (tmp_path / f"{i}.zip.pth").write_bytes(FORMATS["zip"](program))
        (tmp_path / f"{i}.old.pth").write_bytes(FORMATS["legacy"](program))
    (tmp_path / "good.pth").write_bytes(FORMATS["zip"](GOOD))
    code = f"""
import pathlib, sys
from xfer.errors import WeightsError
from xfer.weights import read_weights
files = sorted(pathlib.Path({str(tmp_path)!r}).glob("*.pth"))
read_weights(files[-1])
forbidden = ("exec", "import", "os.system", "subprocess.Popen", "socket.", "os.exec", "os.fork", "ctypes", "compile")
seen = []
armed = True
sys.addaudithook(lambda event, _: seen.append(event) if armed and event.startswith(forbidden) else None)
for path in files[:-1]:
    try:
        read_weights(path)
        seen.append(f"read {{path}}")
    except WeightsError:
        pass
armed = False
print(len(files), seen)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == f"{2 * len(CALLS) + 1} []", result.stdout + result.stderr


LIES = {
    "offset outside": state_dict(w=tensor(storage(), offset=1)),
    "shape outside": state_dict(w=tensor(storage(), shape=(5,))),
    "stride outside": state_dict(w=tensor(storage(), shape=(2, 2), stride=(3, 1))),
    "negative offset": state_dict(w=tensor(storage(), offset=-1)),
    "negative shape": state_dict(w=tensor(storage(), shape=(-1,))),
    "negative stride": state_dict(w=tensor(storage(), stride=(-1,))),
    "huge shape": state_dict(w=tensor(storage(), shape=(2**40, 2**40), stride=(0, 0))),
    "stride 0 bomb": state_dict(w=tensor(storage(), shape=(10**9,), stride=(0,))),
    "shape and stride of other lengths": state_dict(w=tensor(storage(), shape=(2, 2))),
    "more elements than bytes": state_dict(w=tensor(storage(elements=400))),
    "another type": state_dict(w=tensor(storage(kind="DoubleStorage"))),
    "a missing storage": state_dict(w=tensor(storage(key="7"))),
    "a tensor of no storage": state_dict(w=tensor(number(3))),
    "a path for a key": state_dict(w=tensor(storage(key="../../etc/passwd"))),
    "no tensors": b"\x80\x02}.",
    "a number": b"\x80\x02K\x01.",
    "a persistent id of text": b"\x80\x02" + text("storage") + b"Q.",
    "objects that the reader gave, changed": state_dict(
        w=b"ctorch\nFloatStorage\n}" + text("dtype") + text("O") + b"sb", v=tensor(storage())
    ),
    "a function that the reader gave, changed": state_dict(
        w=b"ctorch._utils\n_rebuild_tensor_v2\n(N}" + text("build") + b"Nstb", v=tensor(storage())
    ),
}


@pytest.mark.parametrize("wrap", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("program", LIES.values(), ids=LIES)
def test_lies_are_refused_and_the_reader_stays_whole(program, wrap, tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(wrap(program))
    with pytest.raises(WeightsError):
        read_weights(path)
    path.write_bytes(wrap(GOOD))
    np.testing.assert_array_equal(read_weights(path)["w"], np.array([1, 2, 3, 4], np.float32))


ARCHIVES = {
    "compressed": zipped(GOOD, {"data/0": FOUR}, zipfile.ZIP_DEFLATED),
    "a bomb": zipped(GOOD, {"data/0": bytes(10_000_000)}, zipfile.ZIP_DEFLATED),
    "two pickles": zipped(GOOD, {"data/0": FOUR, "more/data.pkl": GOOD}),
    "code": zipped(GOOD, {"data/0": FOUR, "code/x.py": b""}),
    "no storage": zipped(GOOD),
    "a short storage": zipped(GOOD, {"data/0": FOUR[:-1]}),
    "no zip after all": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("content", ARCHIVES.values(), ids=ARCHIVES)
def test_archives_that_lie(content, tmp_path):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError):
        read_weights(tmp_path / "x.pth")


def test_big_endian_is_turned(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("a/data.pkl", GOOD)
        archive.writestr("a/byteorder", b"big")
        archive.writestr("a/data/0", struct.pack(">4f", 1, 2, 3, 4))
    np.testing.assert_array_equal(read_weights(tmp_path / "x.pth")["w"], np.array([1, 2, 3, 4], np.float32))


@settings(max_examples=300, derandomize=True, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(FORMATS)))
def test_any_damage_is_a_weights_error_or_harmless(data, kind, tmp_path_factory):
    content = bytearray(FORMATS[kind](GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "fuzz.pth"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        found = read_weights(path)
    except WeightsError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert sum(array.nbytes for array in found.values()) <= len(content)
