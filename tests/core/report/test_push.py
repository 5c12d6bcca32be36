"""Runs that are pushed to a hub: what is in the repository, what the card says, and what is refused."""

import csv
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from typer.testing import CliRunner

import xfer
from tests.suites.hub import OWNER, READER
from xfer.cli.app import app
from xfer.errors import UsageError, WeightsError
from xfer.report.card import cell, table
from xfer.specs.settings import RunSettings
from xfer.testing import NumpyBackend
from xfer.workflows.run import train

BACKEND = "xfer.testing:NumpyBackend"
SETTINGS = {"model": "tiny", "weights": "none", "backend": BACKEND, "image_size": 16, "epochs": 1, "limit": 60}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on scikit-learn's digits."""
    folder = tmp_path_factory.mktemp("secret-place") / "run"
    train(RunSettings.of({**SETTINGS, "data": "digits", "out": str(folder)}), progress=False)
    return folder


@pytest.fixture
def owner(hub, monkeypatch):
    """The hub, with its owner logged in."""
    monkeypatch.setenv("HF_TOKEN", OWNER)
    return hub


def files(hub, name, branch="main"):
    repo = hub.repos[name]
    return repo.commits[repo.branches[branch]]


def card_of(content):
    from huggingface_hub import ModelCard

    return ModelCard(content.decode())


def cells(text, first):
    """The cells of the first line of a table that begins with a word."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [part.strip() for part in line.strip("|").split(" | ")]


def test_what_is_pushed_is_loaded_again(owner, run):
    address = xfer.push(run, "me/digits", license="mit", private=True)
    assert owner.repos["me/digits"].private
    pushed = files(owner, "me/digits")
    weights = [name for name in pushed if name.endswith(".safetensors")]
    expected = {".gitattributes", "README.md", "confusion.png", "manifest.json", "metrics.json", *weights}
    assert pushed.keys() == expected
    assert pushed[weights[0]] == (run / weights[0]).read_bytes()
    assert pushed["confusion.png"].startswith(b"\x89PNG")
    found, mine = xfer.load(address, backend=NumpyBackend()), xfer.load(run, backend=NumpyBackend())
    images = xfer.data.digits().val.limit(20, 0)
    np.testing.assert_array_equal(found.predict_proba(images), mine.predict_proba(images))
    assert address == f"hf://me/digits@{found.source.commit}"


def test_no_paths_and_no_names_of_images_are_pushed(owner, run, tmp_path):
    settings = {**SETTINGS, "limit": None, "data": str(photos(tmp_path)), "out": str(tmp_path / "run"), "val": 0.5}
    train(RunSettings.of(settings), progress=False)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["data"]["skipped"]
    xfer.push(tmp_path / "run", "me/photos")
    for name, content in files(owner, "me/photos").items():
        for private in (str(tmp_path), "portrait", "broken"):
            assert private.encode() not in content, name
    assert "`photos`: 9 images to train on" in files(owner, "me/photos")["README.md"].decode()


def photos(folder):
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(16):
        path = folder / "photos" / ("ant", "bee")[i % 2] / f"portrait-{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(path)
    for name in ("broken-1.png", "broken-2.png"):
        (folder / "photos" / "ant" / name).write_bytes(b"no picture")
    return folder / "photos"


def test_the_card_is_what_huggingface_hub_reads_and_says_what_the_run_has(owner, run):
    xfer.push(run, "me/digits", license="apache-2.0")
    card = card_of(files(owner, "me/digits")["README.md"])
    data = card.data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "xfer", "image-classification")
    metrics = json.loads((run / "metrics.json").read_text())
    found = {result.metric_type: result.metric_value for result in data.eval_results}
    assert found["accuracy"] == metrics["val"]["accuracy"]
    assert found["loss"] == metrics["val"]["loss"]
    assert {result.dataset_name for result in data.eval_results} == {"digits"}
    assert 'xfer.load("hf://me/digits", backend="torch")' in card.content
    assert 'backend="tensorflow"' in card.content

    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    true, predicted = [row[1] for row in rows], [row[2] for row in rows]
    name, value, interval = cells(card.content, "accuracy")
    assert (name, value) == ("accuracy", f"{accuracy_score(true, predicted):.4f}")
    low, high = map(float, interval.split(" to "))
    right = np.array(true) == np.array(predicted)
    resampled = np.random.default_rng(5).choice(right, (4000, len(right))).mean(axis=1)
    np.testing.assert_allclose((low, high), np.quantile(resampled, (0.025, 0.975)), atol=0.04)
    precision, recall, f1, support = precision_recall_fscore_support(true, predicted, labels=["3"], zero_division=0)
    expected = ["3", str(support[0]), *(f"{score[0]:.4f}" for score in (precision, recall, f1))]
    assert cells(card.content, "3")[:5] == expected
    assert "![Confusion matrix" in card.content


def test_without_matplotlib_the_table_alone(owner, run, monkeypatch):
    monkeypatch.setattr("xfer.report.push.find_spec", lambda name: None)
    xfer.push(run, "me/digits")
    pushed = files(owner, "me/digits")
    assert "confusion.png" not in pushed
    text = pushed["README.md"].decode()
    matrix = text[text.index("## Confusion matrix") :]
    with (run / "predictions.csv").open(newline="") as file:
        counted = [row[2] for row in list(csv.reader(file))[1:] if row[1] == "3"]
    assert cells(matrix, "3") == ["3", *(str(counted.count(str(k))) for k in range(10))]
    assert card_of(pushed["README.md"]).data.license is None


def test_a_second_push_replaces_the_first(owner, run, model):
    xfer.push(run, "me/net")
    first = files(owner, "me/net")
    address = model.push("hf://me/net", message="other weights")
    second = files(owner, "me/net")
    assert len([name for name in second if name.startswith("model-")]) == 1
    assert "confusion.png" not in second
    assert "metrics.json" not in second
    assert set(first) & set(second) == {".gitattributes", "manifest.json", "README.md"}
    assert owner.repos["me/net"].messages[-1] == "other weights"
    assert xfer.load("hf://me/net", backend=NumpyBackend()).classes == model.classes
    assert model.push("me/net") == address  # nothing has changed


def test_a_branch(owner, model):
    model.push("me/net")
    main = owner.repos["me/net"].branches["main"]
    model.replace_head(["x", "y"])
    address = model.push("me/net", revision="two/classes")
    assert owner.repos["me/net"].branches["main"] == main
    assert address.endswith(owner.repos["me/net"].branches["two/classes"])
    assert xfer.load("hf://me/net@two%2Fclasses", backend=NumpyBackend()).classes == ("x", "y")


def test_the_evaluation_of_a_model_is_in_its_card(owner, model, data):
    found = model.evaluate(data)
    model.push("me/net", evaluation=found)
    card = card_of(files(owner, "me/net")["README.md"])
    assert {r.metric_type: r.metric_value for r in card.data.eval_results}["accuracy"] == found.metrics["accuracy"]
    interval = found.interval("accuracy")
    assert cells(card.content, "accuracy")[2] == f"{interval.low:.4f} to {interval.high:.4f}"
    model.replace_head(["x", "y"])
    with pytest.raises(UsageError, match="of other classes than the model"):
        model.push("me/net", evaluation=found)


def test_what_is_refused_is_one_line_and_names_no_token(hub, run, monkeypatch, capsys):
    def refused(kind, message, repo="me/net", **options):
        with pytest.raises(kind, match=message) as error:
            xfer.push(run, repo, **options)
        assert "\n" not in str(error.value)
        shown = str(error.value) + "".join(capsys.readouterr())
        assert OWNER not in shown
        assert READER not in shown

    refused(WeightsError, r"refuses with 401: log in \(`hf auth login`, or HF_TOKEN\)")
    monkeypatch.setenv("HF_TOKEN", READER)
    refused(WeightsError, "refuses with 403: log in .* as somebody who may do this")
    hub.reject = "license: gpl-9"
    refused(UsageError, r'"license" must be one of \[apache-2.0', token=OWNER, license="gpl-9")
    for repo in ("net", "me/net/file", "hf://me/net@main", "me/n et"):
        refused(UsageError, "expected hf://owner/repo|give 'owner/name'", repo)
    hub.down = True
    refused(WeightsError, "answers 503", token=OWNER)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refused(WeightsError, r"the connection to http://127.0.0.1:9 broke \(ConnectError\): run again")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused(UsageError, r'pip install "xfer-learn\[hub\]"')


def test_the_command(owner, run):
    options = ["--license", "mit", "--private", "--message", "first", "--json"]
    done = CliRunner().invoke(app, ["push", str(run), "me/net", *options])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["address"] == f"hf://me/net@{owner.repos['me/net'].branches['main']}"
    assert owner.repos["me/net"].private
    done = CliRunner().invoke(app, ["push", str(run / "nothing"), "me/net"])
    assert done.exit_code == 1
    assert "is not an xfer run" in done.stderr
    assert done.stderr.count("\n") == 1


@given(st.text(max_size=20))
def test_a_cell_is_one_cell_whatever_a_class_is_called(name):
    line = table([name], [])
    rows = line.splitlines()
    assert len(rows) == 2
    inner = rows[0].removeprefix("| ").removesuffix(" |").replace("\\\\", "").replace("\\|", "")
    assert "|" not in inner
    assert "<" not in cell(name).replace("\\<", "")
