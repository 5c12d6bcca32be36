"""One set of weights gives one set of logits, whichever framework computes them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xfer.zoo import cards

MODELS = [card.name for card in cards() if card.name != "tiny"]
BOUND = {"fp64": 1e-9, "fp32": 1e-5}


def forward(folder: Path, size: int) -> dict[str, Path]:
    folders = {}
    for backend in ("torch", "tensorflow"):
        folders[backend] = folder / backend
        folders[backend].mkdir()
        worker = Path(__file__).with_name("forward.py")
        command = [sys.executable, str(worker), backend, str(folders[backend]), str(size), *MODELS]
        subprocess.run(command, check=True)
    return folders


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    return forward(tmp_path_factory.mktemp("small"), 64)


@pytest.fixture(scope="session")
def full(tmp_path_factory):
    return forward(tmp_path_factory.mktemp("full"), 224)


def check(folders: dict[str, Path], model: str, precision: str) -> None:
    ours, theirs = (np.load(folders[b] / f"{model}-{precision}.npz") for b in ("torch", "tensorflow"))
    assert list(ours) == list(theirs)
    assert ours["head"].dtype == (np.float64 if precision == "fp64" else np.float32)
    for stage in ours:
        a, b = ours[stage].astype(np.float64), theirs[stage].astype(np.float64)
        assert a.shape == b.shape, stage
        assert a.std() > 0, f"{stage} says nothing"
        worst = np.abs(a - b).max() / np.abs(a).max()
        assert worst <= BOUND[precision], f"{model} {precision}: {stage} differs by {worst:.2e}"


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize("model", MODELS)
def test_parity(small, model, precision):
    check(small, model, precision)


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize("model", MODELS)
def test_parity_at_full_size(full, model, precision):
    check(full, model, precision)
