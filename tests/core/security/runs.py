"""Hostile run folders, ensembles and spaces of the feature cache: with checksums that a stranger can compute."""

import dataclasses
import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

import xfer
from tests.core.security import caches
from xfer.checkpoints import checkpoint, stored
from xfer.runtime import checksums
from xfer.testing import NumpyBackend
from xfer.workflows.ensemble import Ensemble, Member

Change = Callable[[Path], object]


def build(**options: Any) -> xfer.BaseModel:
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=list("abc"), image_size=16, **options)


def make(folder: Path) -> None:
    """A run with an estimator and an optimizer, and an ensemble."""
    rng = np.random.default_rng(0)
    data = xfer.data.arrays(rng.integers(0, 255, (30, 16, 16, 3), np.uint8), np.arange(30) % 3, classes=list("abc"))
    for name, head in (("plain", xfer.Head()), ("estimator", xfer.Head.sklearn(LogisticRegression()))):
        trainer = xfer.Trainer(build(head=head), progress=False, cache=False)
        trainer.fit(data, 1)
        trainer.save(folder / name)
    Ensemble((Member(build()),)).save(folder / "ensemble")


def history(text: str) -> Change:
    """A run of a version that kept its history in `history.json` alone."""

    def apply(folder: Path) -> None:
        edit(progress=None)(folder)
        (folder / "history.json").write_text(text)

    return apply


def progress(content: bytes) -> Change:
    """What a run has gathered says something else, under the right hash."""

    def apply(folder: Path) -> None:
        (folder / "progress-000000000000.json").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        edit(progress={"name": "progress-000000000000.json", "sha256": digest})(folder)

    return apply


def edit(**changes: Any) -> Change:
    """The manifest says something else, under a seal that is whole; `a__b` is the key b of a."""

    def apply(folder: Path) -> None:
        path = next(p for p in (folder / "ensemble.json", folder / "manifest.json") if p.exists())
        document = checksums.without_checksum(path.read_bytes())
        for key, value in changes.items():
            *inner, last = key.split("__")
            place = document
            for name in inner:
                place = place[name]
            place[last] = value
        path.write_bytes(checksums.with_checksum(document))

    return apply


def raw(content: bytes) -> Change:
    return lambda folder: (folder / "manifest.json").write_bytes(content)


def sealed_raw(content: bytes) -> Change:
    """JSON of any kind under a good seal."""
    import hashlib

    blank = checksums._OPENING + checksums._BLANK + b'",' + content
    digest = hashlib.sha256(blank).hexdigest().encode()
    return raw(checksums._OPENING + digest + b'",' + content)


def unseal(folder: Path) -> None:
    document = checksums.without_checksum((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(document))


def tensors(folder: Path) -> Path:
    return folder / checkpoint.open_checkpoint(folder).manifest.tensors.name


def link(target: Callable[[Path], Path | str]) -> Change:
    """The tensors are a link."""

    def apply(folder: Path) -> None:
        path = tensors(folder)
        shutil.copy(path, folder.parent / "outside.safetensors")
        path.unlink()
        path.symlink_to(target(folder))

    return apply


def linked_manifest(folder: Path) -> None:
    (folder / "manifest.json").rename(folder.parent / "outside.json")
    (folder / "manifest.json").symlink_to(folder.parent / "outside.json")


def pipe(folder: Path) -> None:
    path = tensors(folder)
    path.unlink()
    os.mkfifo(path)


def optimizer(**arrays: np.ndarray) -> Change:
    def apply(folder: Path) -> None:
        file = stored.write_tensors(folder, "optimizer", {k.replace("__", "/"): v for k, v in arrays.items()})
        edit(optimizer=dataclasses.asdict(file))(folder)

    return apply


def wide_slots(folder: Path) -> None:
    run = checkpoint.open_checkpoint(folder)
    slots = {name: np.zeros((*array.shape, 2), array.dtype) for name, array in run.optimizer_state().items()}
    edit(optimizer=dataclasses.asdict(stored.write_tensors(folder, "optimizer", slots)))(folder)


def skops_file(change: Callable[[dict[str, Any]], object], method: int = zipfile.ZIP_STORED) -> Change:
    """The estimator's file with another schema, hashed and sealed."""

    def apply(folder: Path) -> None:
        manifest = checkpoint.open_checkpoint(folder).manifest
        assert manifest.estimator
        with zipfile.ZipFile(folder / manifest.estimator.name) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        schema = json.loads(content["schema.json"])
        changed = change(schema)
        content["schema.json"] = json.dumps(changed if isinstance(changed, dict) else schema).encode()
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        file = stored.write_stored(folder, "estimator", ".skops", out.getvalue())
        edit(estimator=dataclasses.asdict(file))(folder)

    return apply


def node(loader: str, module: str, name: str, **rest: Any) -> dict[str, Any]:
    return {"__loader__": loader, "__module__": module, "__class__": name, **rest}


def words(*values: Any) -> dict[str, Any]:
    content = [node("JsonNode", "builtins", "str", content=json.dumps(value), is_json=True) for value in values]
    return node("TupleNode", "builtins", "tuple", content=content)


def instead(found: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    """Another object in the place of the estimator."""
    return lambda schema: found | {"protocol": schema["protocol"], "_skops_version": schema["_skops_version"]}


def deep(schema: dict[str, Any]) -> dict[str, Any]:
    found = words(1)
    for _ in range(300):  # of which skops needs several calls for each
        found = node("ListNode", "builtins", "list", content=[found])
    return found | {"protocol": schema["protocol"], "_skops_version": schema["_skops_version"]}


CALLED = "ConstructorFromReduceNode"
SKOPS = {
    "a pickle is loaded": instead(node(CALLED, "numpy", "load", content=words("evil.npy", None, True))),
    "a file is written": instead(node(CALLED, "numpy", "savetxt", content=words("canary", [1.0]))),
    "a command": instead(node(CALLED, "os", "system", content=words("touch canary"))),
    "a command of the old protocol": lambda s: node(CALLED, "os", "system", content=words("touch canary"), protocol=0),
    "a function": instead(node("FunctionNode", "numpy", "load")),
    "a type that is a function": instead(node("TypeNode", "os", "system")),
    "a key that is called": instead(
        node(
            "DictNode",
            "builtins",
            "dict",
            content={"touch canary": words(1)},
            key_types=node("ListNode", "builtins", "list", content=[node("TypeNode", "os", "system")]),
        )
    ),
    "an operator": instead(node("OperatorFuncNode", "operator", "methodcaller", attrs=words("tofile", "canary"))),
    "a partial": instead(
        node(
            "PartialNode",
            "functools",
            "partial",
            content={
                "func": node("FunctionNode", "numpy", "save"),
                "args": words("canary"),
                "kwds": words(),
                "namespace": words(),
            },
        )
    ),
    "a method": instead(node("MethodNode", "numpy", "ndarray", content={"func": "tofile", "obj": words(1)})),
    "a private module": instead(node("ObjectNode", "sklearn.utils._testing", "TempMemmap")),
    "an array that is called": instead(node("NdArrayNode", "os", "system", type="json", content=[], shape=words(0))),
    "a loss that is called": instead(
        node("LossNode", "numpy", "loadtxt", content=words(), __reduce__={"args": words("canary")})
    ),
    "lists in lists": deep,
    "an empty schema": lambda schema: schema.clear(),
}

DOCUMENTS = {
    "9 MiB": raw(checksums.with_checksum({"format": 2, "x": "x" * (9 << 20)})),
    "nested": sealed_raw(b'"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "many small things": sealed_raw(b'"x":[' + b"[]," * 2_500_000 + b"[]]}"),
    "a key twice": sealed_raw(b'"format":2,"format":2}'),
    "a second seal": sealed_raw(b'"format":2,"sha256":"' + b"0" * 64 + b'"}'),
    "not a number": sealed_raw(b'"format":2,"x":NaN}'),
    "infinity": sealed_raw(b'"format":2,"x":1e999}'),
    "10,000 digits": sealed_raw(b'"format":2,"x":' + b"9" * 10_000 + b"}"),
    "no UTF-8": sealed_raw(b'"format":2,"x":"\xff"}'),
    "a list": raw(b"[]"),
    "a format of text": sealed_raw(b'"format":"2"}'),
    "a format of truth": sealed_raw(b'"format":true}'),
    "without its seal": unseal,
    "an old format under a seal": edit(format=1),
    "by a link": linked_manifest,
}

PATHS = {
    name: edit(tensors__name=path)
    for name, path in {
        "above": "../plain/x",
        "absolute": "/etc/passwd",
        "the folder": ".",
        "the folder above": "..",
        "nothing": "",
        "NUL": "model\0.safetensors",
        "Windows": "..\\model",
        "a drive": "C:model",
        "a stream": "model:x",
        "long": "x" * 5000,
    }.items()
} | {
    "a link that leads out": link(lambda folder: folder.parent / "outside.safetensors"),
    "a link to a device": link(lambda folder: "/dev/zero"),
    "a link to itself": link(lambda folder: tensors(folder)),
    "a pipe": pipe,
}

NUMBERS = {
    "a hidden layer of 10^9": edit(head__hidden=[10**9]),
    "hidden layers without end": edit(head__hidden=[2] * 100_000),
    "10^5 classes": edit(classes=[str(i) for i in range(100_000)]),
    "10^9 columns": edit(columns=10**9),
    "-1 columns": edit(columns=-1),
    "images of 10^9 pixels": edit(preprocessing__size=10**9),
    "images of 10^9 pixels before the crop": edit(preprocessing__resize=10**9),
    "images of -1 pixels": edit(preprocessing__size=-1),
    "a task of 10^5 classes": edit(
        tasks=[{"name": "a", "kind": "regression", "classes": [str(i) for i in range(10**5)]}]
    ),
    "another network": edit(model="resnet152"),
    "no network": edit(model="../../tiny"),
    "a wrapped network": edit(model="wrapped:os.system"),
    "a backend that is imported": edit(backend="antigravity:fly"),
    "slots of other shapes": wide_slots,
    "a history that is nested": history("[" * 200_000),
    "a history of numbers": history("[1]"),
    "progress that is nested": progress(b"[" * 200_000),
    "progress of numbers": progress(b"[1]"),
    "progress of another kind": progress(b'{"history": 1, "losses": "abc", "skipped": {}, "stop": []}'),
}

ENSEMBLES = {
    "a backend that is imported": lambda folder: edit(backend="os:getpid")(folder / "member-0"),
    "a run elsewhere": edit(members=[{"run": "../plain", "head": None}]),
    "a run at the root": edit(members=[{"run": "/", "head": None}]),
    "a head elsewhere": edit(members=[{"run": "member-0", "head": {"name": "../plain/x", "sha256": "0"}}]),
    "10^5 members": edit(members=[{"run": "member-0", "head": None}] * 100_000, weights=[1.0] * 100_000),
    "a member that is a link": lambda folder: (
        (folder / "member-0").rename(folder.parent / "outside"),
        (folder / "member-0").symlink_to(folder.parent / "outside"),
    ),
    "no members": edit(members=[], weights=[]),
    "weights of others": edit(weights=[1.0, 2.0]),
    "negative weights": edit(weights=[-1.0]),
}


def write(folder: Path) -> list[tuple[str, str, str]]:
    """Write all attacks on folders; gives name, kind and path of each."""
    good, found = folder / "good", list[tuple[str, str, str]]()
    make(good)
    groups: list[tuple[str, str, dict[str, Change]]] = [
        ("manifest", "plain", DOCUMENTS),
        ("path in a manifest", "plain", PATHS),
        ("manifest that says", "plain", NUMBERS),
        ("skops", "estimator", {name: skops_file(change) for name, change in SKOPS.items()}),
        ("skops", "estimator", {"compressed": skops_file(lambda schema: None, zipfile.ZIP_DEFLATED)}),
        ("ensemble", "ensemble", ENSEMBLES),
    ]
    for group, base, changes in groups:
        for name, change in changes.items():
            path = folder / f"run{len(found)}" / base
            shutil.copytree(good / base, path)
            change(path)
            found.append((f"{group}: {name}", "run", str(path)))
    return found + caches.spaces(folder) + caches.images(folder)
