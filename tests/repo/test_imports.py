"""The core stands without a framework, and `import xfer` costs nothing."""

import subprocess
import sys
from pathlib import Path

FRAMEWORKS = ("torch", "torchvision", "tensorflow", "keras", "jax")

BLOCKED = f"""
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {FRAMEWORKS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.split(".")[0])
sys.meta_path.insert(0, Wall())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_import_loads_no_framework_and_nothing_heavy():
    heavy = (*FRAMEWORKS, "numpy", "sklearn", "matplotlib", "pydantic", "pandas", "rich", "PIL")
    result = python(f"import xfer, sys; print([m for m in {heavy!r} if m in sys.modules])")
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_core_imports_whole_without_frameworks():
    code = BLOCKED + (
        "import pkgutil, importlib, xfer\n"
        "names = [m.name for m in pkgutil.walk_packages(xfer.__path__, 'xfer.') if not m.name.endswith('__main__')]\n"
        "[importlib.import_module(n) for n in names]\n"
        "[getattr(xfer, n) for n in xfer.__all__]\n"
        "print(len(names))"
    )
    result = python(code)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 20


def test_missing_framework_is_one_line_that_names_the_extra():
    for backend, needs in (("torch", "torch"), ("keras", "tensorflow"), ("jax", "jax")):
        code = BLOCKED + (
            "import xfer\n"
            f"try:\n    xfer.load('tiny', backend={backend!r}, weights=None)\n"
            "except xfer.XferError as error:\n    print(error)"
        )
        result = python(code)
        extra = "tensorflow" if backend == "keras" else backend
        assert result.stdout.strip().endswith(f'pip install "xfer-learn[{extra}]"'), result.stdout + result.stderr
        assert f"backend '{extra}' needs {needs}" in result.stdout or "needs keras" in result.stdout


def test_contract_of_imports():
    tool = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([tool], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stdout
