"""Training begun in one framework is finished in the other, and ends where an uninterrupted run ends."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

OTHER = {"torch": "tensorflow", "tensorflow": "torch"}
MODELS = ["tiny", pytest.param("resnet18", marks=pytest.mark.long)]


def journey(job, backend, model, folder, out, phase="head"):
    worker = Path(__file__).with_name("journey.py")
    command = [sys.executable, worker, job, backend, model, folder / "run", folder / out, phase]
    subprocess.run(command, check=True)
    return folder / out


@pytest.fixture(scope="module", params=MODELS)
def whole(request, tmp_path_factory):
    """The uninterrupted run of each framework."""
    folder = tmp_path_factory.mktemp("whole")
    runs = {backend: np.load(journey("whole", backend, request.param, folder, f"{backend}.npz")) for backend in OTHER}
    return request.param, runs


def apart(ours, theirs):
    """The worst relative error over all tensors, and whose it is."""
    assert set(ours) == set(theirs)
    errors = {n: np.abs(ours[n] - theirs[n]).max() / max(np.abs(theirs[n]).max(), 1e-12) for n in theirs}
    worst = max(errors, key=errors.get)
    return errors[worst], worst


def test_uninterrupted_runs_are_one(whole):
    _, runs = whole
    error, worst = apart(runs["torch"], runs["tensorflow"])
    assert error <= 1e-9, worst


@pytest.mark.parametrize(
    ("begun", "phase"),
    [
        ("torch", "head"),
        pytest.param("tensorflow", "tail", marks=pytest.mark.long),
        pytest.param("torch", "tail", marks=pytest.mark.long),
        pytest.param("tensorflow", "head", marks=pytest.mark.long),
    ],
)
def test_begun_here_finished_there(whole, begun, phase, tmp_path):
    model, runs = whole
    journey("leave", begun, model, tmp_path, "none", phase)
    finished = np.load(journey("arrive", OTHER[begun], model, tmp_path, "there.npz", phase))
    for backend in OTHER:
        error, worst = apart(finished, runs[backend])
        assert error <= 1e-9, f"{worst} against {backend}"


@pytest.mark.parametrize(
    ("begun", "finished"), [("torch", "jax"), ("jax", "torch"), ("jax", "tensorflow"), ("tensorflow", "jax")]
)
@pytest.mark.long
def test_to_jax_and_back(whole, begun, finished, tmp_path):
    model, runs = whole
    journey("leave", begun, model, tmp_path, "none", "tail")
    found = np.load(journey("arrive", finished, model, tmp_path, "there.npz", "tail"))
    for backend in OTHER:
        error, worst = apart(found, runs[backend])
        assert error <= 1e-9, f"{worst} against {backend}"


@pytest.mark.parametrize("backend", sorted(OTHER))
@pytest.mark.long
def test_begun_and_finished_here_is_bitwise(whole, backend, tmp_path):
    model, runs = whole
    journey("leave", backend, model, tmp_path, "none", "tail")
    finished = np.load(journey("arrive", backend, model, tmp_path, "here.npz", "tail"))
    assert all(finished[name].tobytes() == array.tobytes() for name, array in runs[backend].items())


@pytest.mark.long
def test_begun_and_finished_on_jax_is_bitwise(tmp_path):
    whole = np.load(journey("whole", "jax", "tiny", tmp_path, "whole.npz"))
    journey("leave", "jax", "tiny", tmp_path, "none", "tail")
    finished = np.load(journey("arrive", "jax", "tiny", tmp_path, "here.npz", "tail"))
    assert all(finished[name].tobytes() == array.tobytes() for name, array in whole.items())
