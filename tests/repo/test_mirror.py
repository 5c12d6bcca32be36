"""The two backends mirror each other: the same files, the same classes, the same signatures."""

import ast
from pathlib import Path

import pytest

BACKENDS = Path(__file__).parents[2] / "backends"
# torch's own layout is the canonical one, it starts without a word, and its networks bring their attention; it alone
# trains in several processes
ONLY_ONE = {"attention.py", "layout.py", "quiet.py", "distributed.py"}
FILES = sorted(p.name for p in (BACKENDS / "xfer_torch").glob("*.py"))


def neutral(name: str) -> str:
    return name.replace("Torch", "X").replace("Keras", "X")


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


def test_same_files():
    folders = (("xfer_torch", "xfer_keras"), ("xfer_torch/nets", "xfer_keras_nets"))
    for pair in (*folders, ("xfer_torch/nets/families", "xfer_keras_nets/families")):
        torch, keras = ({p.name for p in (BACKENDS / folder).glob("*.py")} for folder in pair)
        assert torch - ONLY_ONE == keras - ONLY_ONE


@pytest.mark.parametrize("name", ["backend.py", "model.py", "stepper.py"])
def test_same_contract_methods(name):
    """What the core calls is in both with the same arguments; helpers below may differ in what the frameworks need."""
    torch, keras = (public(BACKENDS / b / name) for b in ("xfer_torch", "xfer_keras"))
    shared = {k for k in torch if k.startswith("X")} & {k for k in keras if k.startswith("X")}
    assert len(shared) >= 5
    for key in shared:
        assert torch[key] == keras[key], f"{name}: {key}"
