"""The backends mirror each other: the same files, the same classes, the same signatures."""

import ast
from pathlib import Path

import pytest

BACKENDS = Path(__file__).parents[2] / "backends"
OTHERS = ("xfer_keras", "xfer_jax")
# TensorFlow does not start without a word; JAX has its types by mode, and the others export its runs.
NOT_IN_ALL = {"quiet.py", "modes.py", "export.py", "linear.py", "norm.py", "collectives.py"}
NOT_IN_ALL |= {"record.py", "record_layers.py", "record_pass.py"}  # Keras is recorded on TensorFlow alone
NOT_IN_ALL |= {"record_callback.py"}  # for Keras's `fit`
# torch has optimizers of its own, and Keras's beside them; the others write both rules in one.
NOT_IN_ALL |= {"keras_rules.py"}
# torch's own layout is the canonical one, and its networks bring their attention; then what Keras's engines share.
ONLY_KERAS = {"attention.py", "layout.py", "engine.py", "network.py", "wrapped.py", "shares.py"}


def neutral(name: str) -> str:
    for own in ("Torch", "KerasNetwork", "Keras", "Jax"):
        name = name.replace(own, "XModel" if own == "KerasNetwork" else "X")
    return name


def public(path: Path) -> dict[str, list[str]]:
    """Public functions and the public methods of backend classes, with their argument names."""
    tree = ast.parse(path.read_text("utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found[node.name] = [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
        if isinstance(node, ast.ClassDef) and neutral(node.name).startswith("X"):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and (item.name == "__init__" or not item.name.startswith("_")):
                    found[f"{neutral(node.name)}.{item.name}"] = [
                        a.arg for a in (*item.args.args, *item.args.kwonlyargs)
                    ]
    return found


def names(folder: str) -> set[str]:
    return {path.name for path in (BACKENDS / folder).glob("*.py")}


def test_same_files():
    for other in OTHERS:
        assert names(other) - NOT_IN_ALL == names("xfer_torch") - NOT_IN_ALL
    assert names("xfer_keras_nets") - ONLY_KERAS == names("xfer_torch/nets")
    assert names("xfer_keras_nets/families") == names("xfer_torch/nets/families")


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", ["backend.py", "model.py", "stepper.py", "average.py"])
def test_same_contract_methods(name, other):
    """What the core calls is in all with the same arguments; helpers below may differ in what the frameworks need."""
    torch, theirs = (public(BACKENDS / package / name) for package in ("xfer_torch", other))
    if name == "model.py":  # what does not depend on the engine of Keras
        theirs = public(BACKENDS / "xfer_keras_nets" / "network.py") | theirs
    shared = {key for key in torch if key.startswith("X")} & theirs.keys()
    assert len(shared) >= 5
    for key in shared:
        assert torch[key] == theirs[key], f"{name}: {key}"


@pytest.mark.parametrize("other", OTHERS)
def test_processes_are_joined_alike(other):
    torch, theirs = (public(BACKENDS / package / "distributed.py") for package in ("xfer_torch", other))
    for key in ("joined", "others", "XDistributedContext.exchange"):
        assert torch[key] == theirs[key], key
