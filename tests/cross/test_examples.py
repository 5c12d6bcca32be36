"""The examples that need both frameworks."""

import subprocess
import sys

import numpy as np
import pytest

from tests.suites.examples import example

STEP = """
import sys, numpy as np, xfer
from tests.suites.examples import example
load, digits = xfer.load, xfer.data.digits()
few = xfer.data.Data(digits.train.limit(80), digits.val.limit(20), None, digits.classes, "digits")
xfer.data.sources.digits = lambda: few
xfer.load = lambda name, **options: load("tiny" if name == "efficientnet_lite0" else name, **options)
np.save(sys.argv[3], getattr(example("train_here_serve_there"), sys.argv[1])(sys.argv[2], **eval(sys.argv[4])))
"""


@pytest.mark.long
def test_compare_frameworks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example("compare_frameworks").main(model="tiny", weights="none", limit=40, epochs=1)
    assert "validation images" in capsys.readouterr().out.replace("\n", " ")
    assert (tmp_path / "comparison" / "report.html").exists()


@pytest.mark.long
def test_train_on_torch_serve_on_tensorflow(tmp_path):
    for job in (("train", "torch", "a.npy", "{'weights': None}"), ("serve", "tensorflow", "b.npy", "{}")):
        run = f"dict({job[3]}, run={str(tmp_path / 'run')!r})"
        subprocess.run([sys.executable, "-c", STEP, job[0], job[1], tmp_path / job[2], run], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "b.npy"), np.load(tmp_path / "a.npy"), rtol=1e-5, atol=1e-7)
