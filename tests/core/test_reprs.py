"""What `repr` and a notebook show of every public class, and of what public functions return."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import xfer
from xfer.certify.certificate import Certificate, Stage, Trial
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.data import Batch, Skipped, Split
from xfer.evaluation.evaluation import evaluate_logits
from xfer.exporting.check import Check
from xfer.exporting.export import Export
from xfer.features.cache import CacheUse
from xfer.specs.estimator import FittedEstimator
from xfer.specs.settings import RunSettings
from xfer.specs.tasks import Task
from xfer.testing.numpy_backend import NumpyBackend
from xfer.training import callbacks
from xfer.training.history import History
from xfer.workflows.comparison.agreement import Agreement, Answer, Disagreement
from xfer.workflows.comparison.checks import Check as RunCheck
from xfer.workflows.comparison.comparison import Comparison
from xfer.workflows.differences.gap import Effect, Gap
from xfer.workflows.differences.gap import Images as GapImages
from xfer.workflows.differences.interval import Estimate
from xfer.workflows.pseudo_labels import PseudoLabels
from xfer.workflows.results import Result

HOSTILE = "<script>alert('x')</script>&\n\"\udcff"
MANY = tuple(f"class {i} with a long name that goes on and on" for i in range(1000))
# An address, a path or an array in the raw; of control characters only the line's end may be there.
RAW = re.compile(r" at 0x|PosixPath\(|array\(|WindowsPath\(|[\x00-\x09\x0b-\x1f]")
NO_OBJECTS = {"XferError", "__version__"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """One object or more of each public class and result, small, and with hostile or very many names where it can."""
    folder, backend = tmp_path_factory.mktemp("run"), NumpyBackend()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 32, 32, 3)).astype(np.uint8)
    split = Split(images, np.arange(24) % 2, [f"{HOSTILE}{i}" for i in range(24)], (HOSTILE, "bee"))
    data = xfer.Data(split, split.limit(8), None, split.classes, f"{HOSTILE}/photos", tuple(f"note {i}" for i in "abc"))
    wide = Split(images, np.arange(24), [str(i) for i in range(24)], MANY)
    model = xfer.load("tiny", backend=backend, weights=None, classes=split.classes)
    report = model.freeze()
    trainer = xfer.Trainer(model, progress=False, cache=folder / "cache", batch_size=8)
    history = trainer.fit(data, epochs=2)
    run = trainer.save(folder / "saved")
    evaluation = model.evaluate(data)
    many = evaluate_logits(rng.normal(size=(50, 1000)), np.arange(50), [str(i) for i in range(50)], MANY)
    cells = np.array([[HOSTILE, i / 2] for i in range(24)], object)
    table = xfer.Data(replace(split, columns=cells, column_names=("place", HOSTILE)), None, None, split.classes, "t")
    tasks = (Task("kind", classes=("a", "b")), Task("age", "regression", ("age",)))
    targets = np.column_stack([np.arange(24) % 2, rng.normal(size=24)])
    tasked = Split(images, np.arange(24) % 2, split.names, ("a", "b"), targets=targets)
    tasks_data = xfer.Data(tasked, tasked, None, ("a", "b"), "table", tasks=tasks)
    several = xfer.load("tiny", backend=backend, weights=None, tasks=tasks)
    loader = xfer.data.Loader(split, model.spec.preprocessing, batch_size=8, augment="strong", mix="mixup")
    certificate = Certificate(
        "tiny", ("torch", "tensorflow"), {"torch": {"torch": "2"}}, {"batch": 8},
        tuple(Trial(f"scenario {i}", "fp64", (Stage("logits", 0.0, HOSTILE, 1e-9, 5),) * 300) for i in range(60)),
    )  # fmt: skip
    check = Check("onnxruntime 1.2", 24, 1e-6, 24, 1.0, 2.0, False, {"probabilities": 1e-6})
    agreement = Agreement(24, 23, 23 / 24, 1e-6, 1e-4, ({"loss": 1e-6},) * 200)
    used = {"seconds": {"total": 3.0}, "peak_memory_bytes": {"load": 9}}
    metrics = {"versions": {"numpy": "2"}, "val": evaluation.metrics, **used}
    disagreement = Disagreement(HOSTILE, "bee", {"torch": Answer("bee", 0.6), "tensorflow": Answer(HOSTILE, 0.5)}, 0.1)
    comparison = Comparison(
        {"torch": metrics, "tensorflow": metrics}, agreement, (disagreement,) * 30,
        (RunCheck(HOSTILE, False, HOSTILE),) * 9, {"system": "x"},
    )  # fmt: skip
    estimate = Estimate.of([0.01, -0.02, 0.4])
    effect = Effect("augmentation-order", HOSTILE, HOSTILE, HOSTILE, Estimate.of([0.4, 0.5]), estimate)
    gap = Gap(
        "torch", "keras", "numpy", HOSTILE, {"padding": "same"}, GapImages(HOSTILE, 9, 9), (0, 1), {}, (0.5, 0.6),
        (1.0, 1.1), (effect,) * 14, effect, effect, (),
    )  # fmt: skip
    long_history = History(
        {"epoch": i, "phase": "head", "lr": 1e-3, "loss": 1 / i, "val_loss": 1 / i, "val_accuracy": 0.5, "seconds": 1.0}
        for i in range(1, 400)
    )
    features = xfer.extract(model, data, cache=False)
    opened, inspected = open_checkpoint(run), xfer.data.inspect(data)
    return {
        "Backend": [backend],
        "BaseModel": [model, several, xfer.load("tiny", backend=backend, weights=None)],
        "Checkpoint": [opened, opened.manifest],
        "Checkpoints": [xfer.Checkpoints(folder / "checkpoints", steps=5)],
        "Columns": [xfer.Columns.fit(table)],
        "Data": [data, table, tasks_data, features, xfer.data.digits()],
        "Ensemble": [xfer.Ensemble((model,) * 30), xfer.Ensemble((model,)).members[0]],
        "FeatureCache": [xfer.FeatureCache(folder), CacheUse(5, 6, 7, folder=folder)],
        "Freezer": [model.freezer, report],
        "Head": [xfer.Head(), xfer.Head((256,), 0.2, "batch"), xfer.Head.sklearn(LogisticRegression())],
        "LossSpec": [xfer.LossSpec(), xfer.LossSpec(class_weights=(1.5,) * 1000, label_smoothing=0.1)],
        "OptimizerSpec": [xfer.OptimizerSpec()],
        "Numerics": [xfer.Numerics(), xfer.Numerics.habits("keras"), xfer.Numerics(padding="same")],
        "Prediction": [
            *model.predict(split, on_bad="report"),
            model.predict(split),
            model.predict(images[:1]),
            xfer.load("tiny", backend=backend, weights=None, classes=MANY).predict(images[:2], top=1000),
            xfer.load("tiny", backend=backend, weights=None, classes=MANY).predict_split(split),
            several.predict_split(tasked),
        ],
        "Preprocessing": [model.spec.preprocessing],
        "Schedule": [xfer.Schedule("cosine")],
        "Task": [*tasks, Task("many", classes=MANY)],
        "Trainer": [trainer, trainer.settings, RunSettings(data="photos"), trainer.state().loss, history, long_history],
        "data": [
            split, wide, loader, next(loader.epoch(0)), Batch(images, split.labels, np.arange(24), 0),
            Skipped(HOSTILE * 50, HOSTILE * 50), inspected, *inspected.splits.values(), *inspected.duplicates,
            inspected.conflicts, data.show(), data.show(augment="light"), data.show()[0],
            xfer.data.Budget(5), xfer.data.Augment.parse("strong"), xfer.data.Mix.parse("mixup"),
            data.show(n=2)[0:1],
        ],
        "callbacks": [getattr(callbacks, name)() for name in ("Callback", "BestWeights", "Progress", "TensorBoard")],
        "metrics": [xfer.metrics.METRICS["accuracy"]],
        "zoo": [xfer.zoo.card("resnet50"), *xfer.zoo.card("resnet50").weights[:1]],
        "sklearn": [],
        "evaluations": [
            evaluation, evaluation.per_class(), *evaluation.per_class(), evaluation.reliability(),
            evaluation.predictions,
            evaluation.interval("accuracy", resamples=5), evaluation.mcnemar(evaluation), many, many.per_class(),
            several.evaluate(tasks_data), evaluation.decision, replace(evaluation.decision, thresholds=(0.1,) * 1000),
        ],
        "results": [
            certificate, certificate.trials[0], comparison, agreement, disagreement,
            Export(folder / "m.onnx", "onnx", "float32", 10**7, 10**7, HOSTILE, 1e-4, check), check,
            PseudoLabels(0.9, 500, (("a.jpg", "ant", 0.99),) * 400), Result(model, evaluation, {}, folder),
            FittedEstimator.fit(LogisticRegression(), rng.normal(size=(8, 4)), np.arange(8) % 2, 2), model.spec,
            xfer.Head.sklearn(LogisticRegression()), gap, effect, estimate,
        ],
    }  # fmt: skip


def test_every_public_class_is_among_them(objects):
    public = {name for name in xfer.__all__ if name[0].isupper()} - NO_OBJECTS
    assert public <= objects.keys(), "give the new class a short repr, and an example here"
    for name in public:
        assert isinstance(objects[name][0], getattr(xfer, name)), name


def test_reprs_are_short_and_plain(objects):
    for name, examples in objects.items():
        for each in examples:
            text = repr(each)
            assert len(text) <= 400, (name, len(text), text)
            assert text.count("\n") <= 4, (name, text)
            assert not RAW.search(text), (name, text)
            text.encode()  # whatever a file is called, a terminal can show it
            assert text.strip(), name


class Tags(HTMLParser):
    """Whether each tag that opens is closed, and which there are."""

    VOID = ("img", "br", "meta", "line", "circle", "polyline")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_notebook_views_are_small_closed_and_escaped(objects):
    found = {}
    for examples in objects.values():
        for each in examples:
            if (show := getattr(type(each), "_repr_html_", None)) is not None and type(each).__module__[:4] == "xfer":
                text = show(each)
                found.setdefault(type(each).__name__, []).append(text)
                assert len(text) < 500_000, type(each)  # of noise, which JPEG cannot compress
                text.encode()
                tags = Tags()
                tags.feed(text)
                assert tags.open == []
                assert "script" not in tags.seen
                assert not re.search(r"(src|href)=\"(?!data:)", text)  # nothing is asked of another server
    assert found.keys() == {
        "Data", "FreezeReport", "History", "Evaluation", "TasksEvaluation", "ClassReport", "Comparison", "Certificate",
        "PredictionList", "Inspection", "Samples",
    }  # fmt: skip


def test_what_the_views_say(objects):
    """Figures that are known from elsewhere stand in the views."""
    model, report = objects["BaseModel"][0], objects["Freezer"][1]
    head = sum(number for name, number in model.parameters.items() if model.card.block_of(name) == "head")
    assert (report.trainable, report.frozen) == (head, sum(model.parameters.values()) - head)
    assert f"{head:,} of {sum(model.parameters.values()):,} parameters are trainable" in report._repr_html_()
    history = objects["Trainer"][4]
    shown = history._repr_html_()
    assert shown.count("<polyline") == 3  # loss, val_loss and val_accuracy
    assert f"{history[-1]['val_loss']:.4f}" in shown
    assert f"val_loss ends at {history[-1]['val_loss']:.4g}" in shown
    evaluation = objects["evaluations"][0]
    right = int((evaluation.labels == evaluation.probabilities.argmax(axis=1)).sum())
    assert f"{right} of {len(evaluation.labels)} images right" in evaluation._repr_html_()
    assert "NOT" not in objects["results"][0]._repr_html_()
    failed = replace(objects["results"][0], trials=(Trial("s", "fp64", (Stage("logits", 1.0, "w", 1e-9, 1),)),))
    assert "NOT the same" in failed._repr_html_()
    assert "FAILED" in repr(failed)
