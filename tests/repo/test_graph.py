"""The import graph of the core, computed without import-linter: no circle, and no arrow upwards.

Every import counts: at the top of a file, in a function, and under `if TYPE_CHECKING`.
"""

import ast
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE = "xfer.models.base_model"
FACADES = {  # model.evaluate(), model.explain(), model.push() and data.show()
    (BASE, "xfer.evaluation.evaluate"),
    (BASE, "xfer.evaluation.explanations.explain"),
    (BASE, "xfer.report.push"),
    ("xfer.data.dataset", "xfer.data.views"),
}
Graph = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Files of the package `xfer` below a folder, by module name."""
    found = {}
    for path in sorted((root / "xfer").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path) -> Graph:
    """Which modules each module imports, without the facades and the lazy `xfer/__init__`."""
    known, graph = modules(root), {}
    for name, path in known.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{name}: relative import"
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    graph[name].add(full if full in known else str(node.module))
            elif isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
        graph[name] = {target for target in graph[name] if target in known and (name, target) not in FACADES}
    graph.pop("xfer", None)
    return {name: targets - {"xfer"} if room(name) == "xfer.testing" else targets for name, targets in graph.items()}


def room(module: str) -> str:
    """The package or module directly in `xfer` that a module is, or is in."""
    return ".".join(module.split(".")[:2])


def rooms(graph: Graph) -> Graph:
    """The graph between packages."""
    found: Graph = defaultdict(set)
    for source, targets in graph.items():
        found[room(source)] |= {room(target) for target in targets} - {room(source)}
    return found


def circles(graph: Graph) -> list[list[str]]:
    """Strongly connected components of two or more, by removing what imports nothing, or is not imported, in turn."""
    left = {name: targets & graph.keys() for name, targets in graph.items()}
    while True:
        imported = {target for targets in left.values() for target in targets}
        ends = {name for name, targets in left.items() if not targets or name not in imported}
        if not ends:
            return [sorted(left)] if left else []
        left = {name: targets - ends for name, targets in left.items() if name not in ends}


def upward(graph: Graph, order: list[list[str]]) -> list[str]:
    """Arrows from a lower room to a higher one, or between two of one level."""
    level = {f"xfer.{name}": depth for depth, names in enumerate(order) for name in names}
    return [
        f"{source} -> {target}"
        for source, targets in sorted(graph.items())
        for target in sorted(targets)
        if room(source) != room(target) and level[room(source)] >= level[room(target)]
    ]


def order() -> list[list[str]]:
    """The rooms from top to bottom, as pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def test_no_circle():
    graph = imports(ROOT)
    assert len(graph) > 200
    assert circles(graph) == []
    assert circles(rooms(graph)) == []


def test_no_arrow_upwards():
    graph = {name: targets for name, targets in imports(ROOT).items() if name != "xfer.__main__"}
    assert {room(name) for name in graph} == {f"xfer.{name}" for names in order() for name in names}
    assert upward(graph, order()) == []
    tests_only = [name for name, targets in graph.items() if any(room(t) == "xfer.testing" for t in targets)]
    assert all(room(name) == "xfer.testing" for name in tests_only)


def test_the_exceptions_are_there_and_are_named_in_pyproject():
    text = (ROOT / "pyproject.toml").read_text()
    for source, target in FACADES:
        assert f"from {target} import" in modules(ROOT)[source].read_text()
        assert f'"{source} -> {target}",' in text
    assert text.count("->") == len(FACADES)


def test_fourteen_rooms_and_few_others():
    inside = [path for path in (ROOT / "xfer").iterdir() if path.name != "__pycache__"]
    assert len([path for path in inside if path.suffix == ".py"]) <= 4
    assert len([path for path in inside if path.is_dir()]) <= 17
    for path in inside:
        if path.is_dir():
            assert (path / "__init__.py").read_text().startswith('"""'), f"{path} has no charter"


def test_no_file_is_long():
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    files = [ROOT / name for name in listed] or [
        p for d in ("xfer", "backends", "tests") for p in (ROOT / d).rglob("*.py")
    ]
    long = {str(path): n for path in files if path.exists() and (n := len(path.read_text("utf-8").splitlines())) > 350}
    assert long == {}


@pytest.mark.parametrize("where", ["", "def f():\n    ", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "])
def test_a_planted_circle_and_a_planted_arrow_are_found(tmp_path, where):
    for name, text in {
        "xfer/__init__.py": "",
        "xfer/high/__init__.py": '"""High."""',
        "xfer/high/a.py": "from xfer.low.b import B",
        "xfer/low/__init__.py": '"""Low."""',
        "xfer/low/b.py": "class B: ...",
        "xfer/low/c.py": "from xfer.low import b",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    levels = [["high"], ["low"]]
    assert circles(imports(tmp_path)) == []
    assert upward(imports(tmp_path), levels) == []
    (tmp_path / "xfer/low/b.py").write_text(f"{where}from xfer.low.c import C")
    assert circles(imports(tmp_path)) == [["xfer.low.b", "xfer.low.c"]]
    (tmp_path / "xfer/low/b.py").write_text(f"{where}import xfer.high.a")
    assert upward(imports(tmp_path), levels) == ["xfer.low.b -> xfer.high.a"]
    assert circles(rooms(imports(tmp_path))) == [["xfer.high", "xfer.low"]]
