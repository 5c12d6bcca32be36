"""Runs every example on one backend with a small network; tests/torch and tests/keras subclass it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xfer

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = {"weights": None}
TESTED = {
    "quickstart", "fine_tuning", "cifar10", "train_here_serve_there", "one_config", "compare_frameworks", "imbalance"
}  # fmt: skip


def example(name: str):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Examples:
    """Set `backend` and `cifar10`, a function that gives that framework's own data set objects."""

    backend: str

    def cifar10(self):
        raise AssertionError("a subclass gives the data sets")

    @pytest.fixture(autouse=True)
    def _small(self, tmp_path, monkeypatch):
        """In a folder of its own, with 100 digits and the tiny network under every name."""
        monkeypatch.chdir(tmp_path)
        digits, load = xfer.data.digits(), xfer.load
        few = xfer.data.Data(digits.train.limit(80), digits.val.limit(20), None, digits.classes, "digits")
        monkeypatch.setattr(xfer.data, "digits", lambda: few)
        monkeypatch.setattr(
            xfer, "load", lambda name, **options: load("tiny" if name == "efficientnet_lite0" else name, **options)
        )

    def test_quickstart(self, capsys):
        accuracy = example("quickstart").main(self.backend, **SMALL)
        assert 0 <= accuracy <= 1
        assert "Prediction(label=" in capsys.readouterr().out
        assert Path("run/manifest.json").exists()

    def test_fine_tuning(self):
        history = example("fine_tuning").main(self.backend, epochs=1, **SMALL)
        assert [row["phase"] for row in history] == ["head", "fine-tune"]

    def test_cifar10(self):
        accuracy = example("cifar10").main(self.backend, self.cifar10(), image_size=32, **SMALL)
        assert 0 <= accuracy <= 1

    def test_train_here_serve_there(self):
        """Here on one backend; tests/cross serves from the other."""
        serving = example("train_here_serve_there")
        trained = serving.train(self.backend, **SMALL)
        np.testing.assert_allclose(serving.serve(self.backend), trained, rtol=1e-5)

    def test_one_config(self):
        options = ("--model", "tiny", "--weights", "none", "--limit", "40", "--epochs", "1", "--fine-tune", "1")
        metrics = example("one_config").main(self.backend, options=options)
        assert set(metrics[self.backend]) >= {"loss", "accuracy", "macro_f1"}

    def test_imbalance(self, monkeypatch, tmp_path):
        """On a folder of digits, three classes, with fewer epochs and remedies."""
        digits = xfer.data.digits()
        for name, split in (("train", digits.train), ("val", digits.val)):
            for i in np.flatnonzero(split.labels < 3)[:60]:
                folder = tmp_path / "digits" / name / f"class{split.labels[i]}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.asarray(split.images[i])).convert("RGB").save(folder / f"{i}.png")
        study = example("imbalance")
        for name, value in (("EPOCHS", 1), ("RATIO", 5), ("MADE", ("smote",)), ("LEFT_OUT", ("random-under",))):
            monkeypatch.setattr(study, name, value)
        load = xfer.load
        monkeypatch.setattr(xfer, "load", lambda name, **options: load(name, **SMALL, image_size=16, **options))
        results = {self.backend: study.measure(str(tmp_path / "digits"), self.backend, 2, {})}
        text = study.table(results)
        assert text.count("\n") == 2 + len(results[self.backend])
        assert {len(runs) for runs in results[self.backend].values()} == {2}
        labels = np.repeat(np.arange(3), 500)
        assert np.bincount(labels[study.skewed(labels, 0)]).tolist() == [500, 224, 100]
