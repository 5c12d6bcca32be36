"""What is judged, what is tuned on, and what a name means: from Python and from the command line."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import xfer
from xfer.cli.app import app
from xfer.errors import DataError, UnreadableError, UsageError, WeightsError
from xfer.testing import NumpyBackend

BACKEND = "xfer.testing:NumpyBackend"
OPTIONS = ["--model", "tiny", "--weights", "none", "--backend", BACKEND, "--epochs", "2", "--image-size", "16"]
RNG = np.random.default_rng(0)


def picture(label):
    pixels = RNG.integers(0, 150, (16, 16, 3))
    pixels[..., label] += 100
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def photos(tmp_path):
    """A maker of class folders: {"train": 6} writes 6 pictures of each of two classes."""

    def make(name="photos", **splits):
        for split, number in splits.items():
            for label, kind in enumerate(("ant", "bee")):
                where = tmp_path / name / ("" if split == "flat" else split) / kind
                where.mkdir(parents=True)
                for i in range(number):
                    picture(label).save(where / f"{i}.png")
        return tmp_path / name

    return make


def run(*arguments):
    found = CliRunner().invoke(app, list(map(str, arguments)))
    assert found.exit_code == 0, found.stderr
    return found


def judged(*arguments):
    return json.loads(run("evaluate", *arguments, "--backend", BACKEND, "--json").stdout)


def test_all_of_what_is_handed_over_is_judged(model, photos):
    flat = photos("flat", flat=10)
    model.replace_head(["ant", "bee"])
    x, y = np.stack([np.asarray(picture(i % 2)) for i in range(10)]), np.array(["ant", "bee"] * 5)
    assert len(model.evaluate(flat).names) == 20
    assert len(model.evaluate((x, y)).names) == 10
    assert len(model.evaluate(list(zip(x, y, strict=True))).names) == 10
    assert len(model.evaluate(photos("both", train=4, val=2, test=3)).names) == 4
    assert len(model.evaluate(str(photos("end", train=4, test=3))).names) == 6
    for split, number in {"train": 8, "val": 4, "test": 6, "all": 18}.items():
        assert len(model.evaluate(flat.parent / "both", split=split).names) == number
    with pytest.raises(UsageError, match="has no split 'val': give train, test or all"):
        model.evaluate(flat.parent / "end", split="val")


def test_what_fit_was_given_is_judged_by_what_it_held_out(model, photos, capsys):
    """In one process: the same folder or arrays, and others like them."""
    flat, other = photos("flat", flat=10), photos("other", flat=10)
    model.replace_head(["ant", "bee"])
    trainer = xfer.Trainer(model, progress=False, lr=1e-2)
    trainer.fit(flat, 1)
    assert set(model.evaluate(flat).names) == set(xfer.data.load(flat).val.names)
    assert "the model was trained on 16 of these 20 images: the others are judged" in capsys.readouterr().err
    assert len(model.evaluate(other).names) == 20
    assert len(model.evaluate(flat, split="all").names) == 20
    x, y = np.stack([np.asarray(picture(i % 2)) for i in range(20)]), np.array(["ant", "bee"] * 10)
    trainer.fit((x, y), 1)
    assert len(model.evaluate((x, y)).names) == 4
    assert len(model.evaluate((255 - x, y)).names) == 20
    assert capsys.readouterr().err.count("are judged") == 1


def test_however_it_was_split_and_whoever_judges(model, photos, monkeypatch, capsys):
    """Another share and seed, a path written otherwise, images added since, an ensemble, and nothing held out."""
    flat, fresh = photos("flat", flat=10), NumpyBackend()
    monkeypatch.chdir(flat.parent)
    model.replace_head(["ant", "bee"])
    data = xfer.data.load(flat, val=0.4, seed=7)
    xfer.Trainer(model, progress=False).fit(data, 1)
    picture(0).save(flat / "ant" / "new.png")
    expected = {*data.val.names, "ant/new.png"}
    assert set(model.evaluate("./flat").names) == expected
    other = xfer.load("tiny", backend=fresh, weights=None, classes=["ant", "bee"], image_size=16)
    assert set(xfer.Ensemble((other, model)).evaluate("flat").names) == expected
    assert len(other.evaluate("flat").names) == 21
    assert capsys.readouterr().err.count("was trained on 12 of these 21 images: the others are judged") == 2
    xfer.Trainer(other, progress=False).fit(xfer.data.load(flat, val=0), 1)
    assert len(other.evaluate(flat).names) == 21
    assert "was trained on 21 of these 21 images: the figures are too good" in capsys.readouterr().err


def test_soups_and_votes_choose_on_the_validation_split(photos, monkeypatch):
    """Of a folder, the share that `load` holds out, as `xfer train` does for the runs that they are made of."""
    from xfer.workflows import ensemble, soup

    flat, seen = photos("flat", flat=10), []
    models = [xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["ant", "bee"], image_size=16)] * 2
    whole = type(models[0]).evaluate

    def evaluate(self, data, **options):
        found = whole(self, data, **options)
        seen.append(set(found.names))
        return found

    monkeypatch.setattr(type(models[0]), "evaluate", evaluate)
    soup.soup(models, flat)
    ensemble.Ensemble(tuple(models)).vote(flat)
    assert seen
    assert all(names == set(xfer.data.load(flat).val.names) for names in seen)


def test_a_run_is_judged_on_what_it_was_not_trained_on(photos, tmp_path):
    """The same folder: the share that was held out. Another one: all of it."""
    flat, out = photos("flat", flat=10), tmp_path / "run"
    run("train", flat, *OPTIONS, "--seed", 3, "--out", out)
    metrics = json.loads((out / "metrics.json").read_text())
    found = judged(out, flat)
    assert (found["images"], found["split"]) == (4, "val, held out of the images that the run was trained on")
    assert found["accuracy"] == metrics["val"]["accuracy"]
    assert judged(out, flat, "--split", "all")["images"] == 20
    for number in (1, 5, 10):  # of 10, all have the same names as those that it was trained on
        other = judged(out, photos(f"other-{number}", flat=number))
        assert (other["images"], other["split"]) == (2 * number, "all")
    assert judged(out, flat.rename(tmp_path / "moved"))["images"] == 4


def test_a_run_knows_its_images_by_their_own_labels(photos, tmp_path):
    """Pseudo-labels change the labels that are trained on, and not what was held out."""
    root, table, out = photos("flat", flat=10), tmp_path / "photos.csv", tmp_path / "run"
    rows = [f"{root.name}/{kind}/{i}.png,{kind if i else ''}" for kind in ("ant", "bee") for i in range(10)]
    table.write_text("\n".join(["image,label", *rows]))
    run("train", table, *OPTIONS, "--pseudo-label", 0.01, "--out", out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["data"]["pseudo_labels"]
    assert judged(out, table)["images"] == metrics["data"]["val"]


def test_the_final_figures_are_those_of_test(photos, tmp_path):
    """Temperature and thresholds are chosen on val, which the table says; test is looked at once."""
    root, out = photos(train=12, test=5), tmp_path / "run"
    shown = run("train", root, *OPTIONS, "--calibrate", "--thresholds", "macro_f1", "--out", out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert "val (temperature, thresholds tuned on it)" in shown.stdout
    assert metrics["tuned_on_val"] == ["temperature", "thresholds"]
    assert metrics["data"]["train"] + metrics["data"]["val"] == 24
    model = xfer.load(out, backend=NumpyBackend())
    assert metrics["test"] == model.evaluate(root, split="test").metrics
    assert judged(out, root, "--split", "test")["images"] == 10


def test_names_of_the_zoo_are_no_folders(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("train", photos(train=6, val=2), *OPTIONS, "--out", "tiny")
    options = {"backend": NumpyBackend(), "weights": None, "classes": 3}
    assert xfer.load("tiny", **options).classes == ("0", "1", "2")
    assert xfer.load("./tiny", backend=NumpyBackend()).classes == ("ant", "bee")
    (tmp_path / "tiny").rename(tmp_path / "imagenet")
    with pytest.raises(WeightsError, match="nothing is published for tiny"):
        xfer.load("tiny", backend=NumpyBackend(), weights="imagenet")
    monkeypatch.setenv("HOME", str(tmp_path))
    model = xfer.load("~/imagenet", backend=NumpyBackend())
    assert model.save("~/again") == tmp_path / "again"
    assert xfer.load("tiny", backend=NumpyBackend(), weights="~/again").classes == ("ant", "bee")


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "backbone.net."])
@pytest.mark.parametrize("headless", [False, True])
def test_weights_as_others_have_saved_them(model, tmp_path, prefix, headless):
    from safetensors.numpy import save_file

    kept = {name: array for name, array in model.weights().items() if not (headless and name.startswith("fc."))}
    beside = {"n_averaged": np.zeros((), np.int64)} if prefix == "module." else {}
    save_file({f"{prefix}{name}": array for name, array in kept.items()} | beside, tmp_path / "w.safetensors")
    options = {"backend": NumpyBackend(), "weights": tmp_path / "w.safetensors", "image_size": 16}
    found = xfer.load("tiny", classes=["x", "y"], **options)
    for name, array in kept.items():
        if not name.startswith("fc."):
            np.testing.assert_array_equal(found.weights()[name], array)
    if headless:
        with pytest.raises(WeightsError, match=r"has no head .*: give classes= for a new one"):
            xfer.load("tiny", **options)
    else:
        np.testing.assert_array_equal(xfer.load("tiny", **options).weights()["fc.weight"], kept["fc.weight"])


def test_one_unreadable_image_does_not_take_the_others_with_it(model, tmp_path, capsys):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        picture(0).save(path)
    expected = model.predict([paths[0], paths[2]])
    paths[1].write_bytes(b"")
    with pytest.raises(UnreadableError, match=r"cannot read .*1\.png: the file is empty") as caught:
        model.predict(paths)
    assert caught.value.predictions == [expected[0], None, expected[1]]
    assert isinstance(caught.value, DataError)
    assert model.predict(paths, on_bad="report") == caught.value.predictions
    assert "1.png: the file is empty" in capsys.readouterr().err
    assert np.isnan(model.predict_proba(paths, on_bad="report")).all(axis=1).tolist() == [False, True, False]
    model.save(tmp_path / "run")
    found = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), *map(str, paths), "--backend", BACKEND])
    assert found.exit_code == 1
    assert found.stdout.count("\n") == 2
    assert "cannot read" in found.stderr


def test_an_ensemble_answers_for_the_others(model, tmp_path, capsys, monkeypatch):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        picture(0).save(path)
    other = xfer.load("tiny", backend=NumpyBackend(), weights=None, seed=1, classes=model.classes)
    ensemble = xfer.Ensemble((model, other))
    expected = ensemble.predict([paths[0], paths[2]])
    paths[1].write_bytes(b"")
    with pytest.raises(UnreadableError, match=r"cannot read .*1\.png: the file is empty") as caught:
        ensemble.predict(paths)
    assert caught.value.predictions == [expected[0], None, expected[1]]
    assert ensemble.predict(paths, on_bad="report") == caught.value.predictions
    assert capsys.readouterr().err.count("1.png: the file is empty") == 1
    for each in (model, ensemble):
        with pytest.raises(UsageError, match="on_bad"):
            each.predict(paths, on_bad="skip")
    ensemble.save(tmp_path / "both")
    monkeypatch.setattr(xfer.Ensemble, "load", lambda path, device: ensemble)  # this backend is no installed one
    monkeypatch.setenv("HOME", str(tmp_path))
    found = CliRunner().invoke(app, ["predict", "~/both", *map(str, paths)])
    assert (found.exit_code, found.stdout.count("\n")) == (1, 2)


@pytest.mark.long
def test_several_tasks_answer_for_the_others(tmp_path):
    """Every kind of task, in the table and in JSON."""
    table, out = tmp_path / "photos.csv", tmp_path / "run"
    for i in range(12):
        picture(i % 2).save(tmp_path / f"{i}.png")
    rows = [f"{i}.png,{'ab'[i % 2]},{'x|y' if i % 3 else '-'},{i}" for i in range(12)]
    table.write_text("\n".join(["image,kind,tags,size", *rows]))
    tasks = ["--tasks", "kind=single-label,tags=multi-label,size=regression"]
    run("train", table, *OPTIONS, *tasks, "--out", out)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    expected = json.loads(run("predict", out, paths[0], paths[2], "--backend", BACKEND, "--json").stdout)
    paths[1].write_bytes(b"")
    found = CliRunner().invoke(app, ["predict", str(out), *map(str, paths), "--backend", BACKEND])
    assert (found.exit_code, found.stdout.count("\n")) == (1, 2)
    found = CliRunner().invoke(app, ["predict", str(out), *map(str, paths), "--backend", BACKEND, "--json"])
    nothing = {"image": str(paths[1]), "kind": None, "tags": None, "size": None}
    assert json.loads(found.stdout) == [expected[0], nothing, expected[1]]


def test_arrays_of_paths(model, tmp_path):
    import pandas

    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for path in paths:
        picture(0).save(path)
    expected = model.predict(paths)
    for form in (np.array(paths), np.array(paths, object), pandas.Series(paths), pandas.Series(paths, dtype="string")):
        assert model.predict(form) == expected


def test_what_else_was_silent(model, data):
    """A head that scores pairs, a sampler's own rows, columns of bagged heads, one update of a cycle."""
    from imblearn.over_sampling import RandomOverSampler
    from sklearn.svm import SVC

    with pytest.raises(UsageError, match="scores pairs of classes"):
        xfer.Head.sklearn(SVC(decision_function_shape="ovo"))
    features = xfer.extract(model, data, cache=False)
    chosen = np.r_[np.flatnonzero(features.train.labels == 0), np.flatnonzero(features.train.labels > 0)[:5]]
    uneven = xfer.data.Data(features.train.subset(chosen), None, None, features.classes, "uneven")
    smooth = xfer.resample(uneven, RandomOverSampler(shrinkage=0.5, random_state=0))
    made = np.asarray(smooth.train.images)[len(chosen) :]
    assert not any((row == features.train.images).all(axis=1).any() for row in made)
    assert xfer.Schedule("onecycle").factor(0, 1) == 1.0
    for labels in (np.zeros((4, 2)), np.zeros((4, 1, 1))):
        with pytest.raises(UsageError, match="labels have shape"):
            xfer.Trainer(model, progress=False).stepper.step(np.zeros((4, 16, 16, 3), np.uint8), labels, {})
