"""The command line as a person or a script uses it; tests/torch and tests/keras run it on their backend."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import xfer
from tests.suites.processes import FRAMEWORKS, forking

SMALL = ("--model", "tiny", "--weights", "none", "--image-size", "16", "--limit", "60", "--epochs", "1")


def xfer_command(*arguments, cwd=None, env=None):
    """Run `xfer` in a process of its own, which need not import the framework of `--backend` again."""
    words = [str(argument) for argument in arguments]
    named = words[words.index("--backend") + 1] if "--backend" in words else "none"
    server = forking(named if named in FRAMEWORKS else "none")
    return server.run("tests.suites.processes:xfer_main", *words, cwd=cwd, env=env)


def document(result):
    """The one JSON document on stdout."""
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


class CommandLine:
    """Set `backend`."""

    backend: str

    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("cli")
        result = xfer_command(
            "train", "digits", *SMALL, "--backend", self.backend, "--fine-tune", "--out", folder / "run"
        )
        assert result.returncode == 0, result.stderr
        assert "accuracy" in result.stdout
        return folder / "run"

    def test_train_writes_what_it_promises(self, run):
        metrics = json.loads((run / "metrics.json").read_text())
        assert set(metrics["val"]) >= {"loss", "accuracy", "macro_f1", "top5_accuracy"}
        assert [row["phase"] for row in metrics["epochs"]] == ["head"] + ["fine-tune"] * 5
        assert metrics["seconds"]["total"] >= metrics["seconds"]["head"] > 0
        assert metrics["backend"] == self.backend
        assert metrics["model"] == "tiny"
        assert metrics["config"]["limit"] == 60
        assert {path.name for path in run.iterdir()} >= {"manifest.json", "history.csv", "predictions.csv"}
        page = (run / "evaluation.html").read_text("utf-8")
        right = round(metrics["val"]["accuracy"] * metrics["data"]["val"])
        assert f"{right} of {metrics['data']['val']} images" in page
        for part in ("Map of the features", "Grad-CAM of the predicted class", "fine-tuning", "Worst mistakes"):
            assert part in page
        assert "There is no" not in page

    def test_evaluate_gives_the_figures_of_training(self, run):
        metrics = json.loads((run / "metrics.json").read_text())["val"]
        found = document(xfer_command("evaluate", run, "digits", "--backend", self.backend, "--json"))
        assert found["images"] == 359  # a fifth of 1,797: --limit was not given
        config = run.parent / "same.toml"
        config.write_text('data = "digits"\nlimit = 60\n')
        options = ("--backend", self.backend, "--json", "--out", run.parent / "judged")
        found = document(xfer_command("evaluate", run, "--config", config, *options))
        assert found["images"] == 60
        page = (run.parent / "judged" / "evaluation.html").read_text("utf-8")
        assert f"{round(found['accuracy'] * 60)} of 60 images" in page
        assert "Grad-CAM of the predicted class" in page
        assert found["accuracy"] == pytest.approx(metrics["accuracy"])
        assert found["loss"] == pytest.approx(metrics["loss"], rel=1e-5)

    def test_predict(self, run, tmp_path):
        pixels = np.asarray(xfer.data.digits().val.images[0])
        for name in ("one.png", "two.png"):
            Image.fromarray(pixels).save(tmp_path / name)
        options = ("--backend", self.backend, "--top", 3)
        found = document(xfer_command("predict", run, tmp_path / "one.png", tmp_path, *options, "--json"))
        assert len(found) == 3
        assert found[0]["label"] == found[0]["top"][0]["label"]
        assert len(found[0]["top"]) == 3
        assert found[0]["label"] in {str(i) for i in range(10)}
        table = ("--out", tmp_path / "t.csv", "--probabilities")
        written = document(xfer_command("predict", run, tmp_path / "one.png", tmp_path, *options, *table, "--json"))
        assert written == {"out": str(tmp_path / "t.csv"), "images": 3, "unreadable": 0}
        with (tmp_path / "t.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["path"] for row in rows] == [each["image"] for each in found]
        assert [row["label_3"] for row in rows] == [each["top"][2]["label"] for each in found]
        for row, each in zip(rows, found, strict=True):
            assert float(row["probability"]) == pytest.approx(each["probability"], rel=1e-6)
            assert sum(float(row[f"probability={i}"]) for i in range(10)) == pytest.approx(1, rel=1e-5)
        plain = xfer_command("predict", run, tmp_path / "one.png", *options)
        assert plain.stdout.startswith(f"{tmp_path / 'one.png'}: {found[0]['label']} ")

    def test_options_override_the_file(self, tmp_path):
        (tmp_path / "xfer.toml").write_text(
            f'data = "digits"\nmodel = "tiny"\nweights = "none"\nimage_size = 16\nlimit = 40\nepochs = 3\n'
            f'backend = "{self.backend}"\nhidden = [8, 4]\n'
        )
        command = ("train", "--config", "xfer.toml", "--epochs", "1", "--seed", "3", "--out", "here", "--json")
        metrics = document(xfer_command(*command, cwd=tmp_path))
        assert len(metrics["epochs"]) == 1
        assert metrics["config"]["seed"] == 3
        assert metrics["config"]["hidden"] == [8, 4]

    def test_a_run_that_fails_is_one_line_and_exit_code_1(self, tmp_path):
        (tmp_path / "file").write_text("")
        result = xfer_command("train", "digits", *SMALL, "--backend", self.backend, "--out", tmp_path / "file" / "run")
        assert result.returncode == 1
        assert result.stderr.startswith("error: cannot write into")
        assert result.stderr.count("\n") == 1
