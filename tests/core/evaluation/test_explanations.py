"""Grad-CAM and occlusion through `model.explain`, on the NumPy backend, against differences, loops and Pillow."""

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

import xfer
from xfer.data import Split
from xfer.data.columns import Columns
from xfer.errors import NumbersError, UnknownNameError, UnreadableError, UsageError
from xfer.evaluation.explanations.maps import resized, scaled
from xfer.evaluation.explanations.occlusion import Occlusion
from xfer.specs.decision import Decision, softmax
from xfer.specs.inputs import Inputs
from xfer.specs.tasks import Task
from xfer.testing import NumpyBackend
from xfer.testing.numpy_backend.layers import Layer
from xfer.workflows.ensemble import Ensemble

SIZE = 16
CLASSES = ("ant", "bee", "cat")
TASKS = (
    Task("kind", "single-label", ("ant", "bee")),
    Task("tags", "multi-label", ("wet", "big")),
    Task("size", "regression", ("mm",), mean=(5.0,), std=(4.0,)),
)


def pictures(number, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, SIZE, SIZE, 3)).astype(np.uint8)


def build(precision="fp64", seed=3, **options):
    settings = {"weights": None, "classes": None if "tasks" in options else CLASSES, "image_size": SIZE}
    model = xfer.load("tiny", backend=NumpyBackend(), precision=precision, **(settings | options))
    rng = np.random.default_rng(seed)
    model.set_weights({name: a + _noise(name, a.shape, rng) for name, a in model.weights().items()})
    return model


def _noise(name, shape, rng):
    """Lively statistics, and logits of which none is sure."""
    return 0.3 * rng.random(shape) if name.endswith("running_var") else 0.3 * rng.standard_normal(shape)


def differences(model, image, block, target, columns=None):
    """Grad-CAM of one image with a gradient of central differences, place by place and channel by channel."""
    a = model.outputs(Inputs(image[None], None, columns), [block])[block]
    steps = 1e-5 * np.eye(a.size).reshape(a.size, *a.shape[1:])
    beside = None if columns is None else np.repeat(columns, a.size, axis=0)
    up, down = (model.logits(Inputs(a + sign * steps, block, beside))[:, target] for sign in (1, -1))
    gradient = ((up - down) / 2e-5).reshape(a.shape)
    total = np.zeros(a.shape[1:3])
    for channel in range(a.shape[3]):
        total += gradient[0, :, :, channel].mean() * a[0, :, :, channel]
    return np.where(total > 0, total, 0)


def enlarged(array):
    """By Pillow, whose triangle filter is bilinear interpolation when an image grows."""
    image = Image.fromarray(array.astype(np.float32), "F")
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


class Pool(Layer):
    """The mean of all places, as a map of one."""

    def forward(self, x, training):
        self._places = x.shape[1:3]
        return x.mean((1, 2), keepdims=True)

    def backward(self, dy):
        return np.ones((1, *self._places, 1)) * dy / np.prod(self._places)


@pytest.mark.parametrize("head", [None, xfer.Head((5,), norm="layer")], ids=["linear", "hidden"])
@pytest.mark.parametrize("block", ["stem", "layer1"])
def test_grad_cam_is_that_of_differences(block, head):
    model = build(**({} if head is None else {"head": head}))
    x, targets = pictures(3), [2, 0, 1]
    found = model.explain(x, targets, block=block)
    assert found.targets.tolist() == targets
    assert found.target_names == ("cat", "ant", "bee")
    assert found.block == block
    assert found.maps.shape == (3, SIZE, SIZE)
    assert found.maps.dtype == np.float64
    np.testing.assert_array_equal(found.images, x)
    some = False
    for i, target in enumerate(targets):
        expected = differences(model, x[i], block, target)
        some = some or bool(expected.max() > 0)
        np.testing.assert_allclose(found.raw[i], expected, atol=1e-6 * max(expected.max(), 1))
        if expected.max() > 0:
            np.testing.assert_allclose(found.maps[i], enlarged(expected / expected.max()), atol=1e-5)
    assert some, "all maps are empty"


def test_a_map_lies_where_the_image_is():
    """A single bright place, off the diagonal: rows are rows, and columns are columns."""
    small = np.zeros((1, 4, 4))
    small[0, 1, 3] = 2
    full = resized(scaled(small), SIZE)[0]
    assert np.unravel_index(full.argmax(), full.shape)[0] in range(4, 8)
    assert np.unravel_index(full.argmax(), full.shape)[1] in range(12, 16)
    model = build()
    model.set_weights({name: np.abs(a) for name, a in model.weights().items() if name.endswith("weight")})
    x = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    x[0, 1:4, 11:15] = 255
    for options in ({}, {"method": "occlusion", "patch": 4, "stride": 2}):
        full = model.explain(x, "ant", **options).maps[0]
        if options and not full.any():
            full = -model.explain(x, "ant", **options).raw[0].repeat(2, 0).repeat(2, 1)
        row, column = np.unravel_index(full.argmax(), full.shape)
        assert row < SIZE // 2 <= column, (options, row, column)


def test_the_target_is_the_class_that_predict_names():
    model = build()
    model.decision = Decision(thresholds=(0.01, 0.98, 0.01))
    x = pictures(4)
    found = model.explain(x)
    assert found.target_names == tuple(each.label for each in model.predict(x))
    np.testing.assert_array_equal(found.predictions.outputs, model.predict_proba(x))
    plain = build()
    assert found.target_names != tuple(each.label for each in plain.predict(x)), "the thresholds change nothing"
    np.testing.assert_array_equal(found.raw, plain.explain(x, found.targets).raw)
    assert plain.explain(x, "bee").target_names == ("bee",) * 4
    np.testing.assert_array_equal(plain.explain(x, 1).maps, plain.explain(x, ["bee"] * 4).maps)
    np.testing.assert_array_equal(plain.explain(x, [None, 1, "bee", np.int64(1)]).targets[1:], 1)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("bea", "unknown target 'bea'; did you mean 'bee'"),
        (3, "target 3: give a class name, or an index from 0 to 2"),
        (-1, "target -1: give a class name"),
        (True, "target True"),
        (1.0, "target 1.0"),
        ([1, 2], "2 targets for 3 images"),
        ([("kind", "ant")] * 3, "has one task"),
    ],
)
def test_a_target_that_is_not_there_is_refused(target, message):
    with pytest.raises(UsageError, match=message):
        build("fp32").explain(pictures(3), target)


def test_occlusion_is_a_loop_over_patches():
    model, x = build(), pictures(2)
    patch, stride, colour = 5, 4, (10, 200, 30)
    found = model.explain(x, [0, 2], "occlusion", patch=patch, stride=stride, fill=colour, batch_size=3)
    starts = [0, 4, 8, 11]
    before = softmax(model.logits(x))
    for i, target in enumerate([0, 2]):
        total, covered = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))
        for a, row in enumerate(starts):
            for b, column in enumerate(starts):
                hidden = x[i].copy()
                hidden[row : row + patch, column : column + patch] = colour
                drop = before[i, target] - softmax(model.logits(hidden[None]))[0, target]
                assert abs(found.raw[i, a, b] - drop) < 1e-12
                total[row : row + patch, column : column + patch] += drop
                covered[row : row + patch, column : column + patch] += 1
        expected = np.maximum(total / covered, 0)
        np.testing.assert_allclose(found.maps[i], expected / expected.max(), atol=1e-9)
    assert found.block is None
    assert np.abs(found.raw).max() > 1e-4


def test_patches_cover_each_pixel_and_are_refused_where_they_could_not():
    for size, patch, stride in ((16, 2, 1), (16, 15, 15), (17, 4, 4), (9, 1, 1)):
        patches = Occlusion(size, patch, stride, np.zeros(3, np.uint8))
        number = len(patches.starts)
        np.testing.assert_allclose(patches.spread(np.ones((1, number, number))), 1)
    model = build("fp32")
    mean = model.explain(pictures(1), 0, "occlusion").raw
    blank = np.rint(np.array(model.spec.preprocessing.mean) * 255)
    np.testing.assert_array_equal(mean, model.explain(pictures(1), 0, "occlusion", fill=blank).raw)
    for options, message in (
        ({"patch": 16}, "patch=16: give 1 to 15"),
        ({"patch": 4, "stride": 5}, "stride=5: give 1 to 4"),
        ({"fill": "red"}, "fill='red'"),
        ({"fill": 256}, "fill=256"),
        ({"fill": (1, 2)}, "fill="),
        ({"block": "stem"}, "option of method='grad-cam'"),
    ):
        with pytest.raises(UsageError, match=message):
            model.explain(pictures(1), 0, "occlusion", **options)
    for options in ({"patch": 3}, {"stride": 3}, {"fill": 0}):
        with pytest.raises(UsageError, match="option of method='occlusion'"):
            model.explain(pictures(1), **options)
    with pytest.raises(UnknownNameError, match="unknown method 'gradcam'; did you mean 'grad-cam'"):
        model.explain(pictures(1), method="gradcam")


def test_several_tasks():
    """A class, a label, and a number in the units of the data."""
    model, x = build(tasks=TASKS), pictures(2)
    for target, index, factor in ((("kind", "bee"), 1, 1), (("tags", "wet"), 2, 1), (("size", "mm"), 4, 4.0)):
        found = model.explain(x, target)
        assert set(found.targets) == {index}
        for i in range(2):
            expected = factor * differences(model, x[i], "layer1", index)
            np.testing.assert_allclose(found.raw[i], expected, atol=1e-6 * max(expected.max(), 1))
        np.testing.assert_array_equal(found.raw, model.explain(x, "=".join(target)).raw)
    number = model.predict_tasks(x)["size"][:, 0]
    hidden = x.copy()
    hidden[:, :4, :4] = 0
    drops = model.explain(x, ("size", "mm"), "occlusion", patch=4, stride=4, fill=0).raw[:, 0, 0]
    np.testing.assert_allclose(drops, number - model.predict_tasks(hidden)["size"][:, 0], atol=1e-12)
    np.testing.assert_array_equal(model.explain(x, [("kind", "ant"), "tags=big"]).targets, [0, 3])
    for target, message in (
        (None, r"has 3 tasks: give target=\(task, class\)"),
        (("kin", "ant"), "unknown task 'kin'; did you mean 'kind'"),
        (("kind", "wet"), "unknown output of task 'kind' 'wet'"),
        (("kind",), r"give \(task, class\)"),
    ):
        with pytest.raises(UsageError, match=message):
            model.explain(x, target)


def test_columns_and_batches():
    rows = [{"weight": str(i), "place": "xy"[i % 2]} for i in range(5)]
    cells = np.array([list(row.values()) for row in rows], object)
    names = [str(i) for i in range(5)]
    split = Split(pictures(5), np.arange(5) % 3, names, CLASSES, columns=cells, column_names=("weight", "place"))
    columns = Columns.fit(xfer.data.load(split))
    model, x = build(columns=columns, head=xfer.Head((4,))), pictures(5)
    for options in ({}, {"method": "occlusion", "patch": 8}):
        found = model.explain(x, "bee", columns=rows, batch_size=2, **options)
        np.testing.assert_allclose(found.raw, model.explain(x, "bee", columns=rows, **options).raw, atol=1e-12)
    expected = differences(model, x[3], "layer1", 1, columns.transform(cells[3:4]))
    np.testing.assert_allclose(model.explain(x, "bee", columns=rows).raw[3], expected, atol=1e-6)
    with pytest.raises(xfer.XferError, match="reads columns"):
        model.explain(x, "bee")


def test_an_estimator_has_no_gradient_but_can_be_occluded():
    data = xfer.data.arrays(pictures(12), np.arange(12) % 3, pictures(3), np.arange(3), classes=list(CLASSES))
    model = build("fp32", head=xfer.Head.sklearn(LogisticRegression()))
    xfer.Trainer(model, progress=False).fit(data)
    with pytest.raises(UsageError, match="estimator, which has no gradient: give method='occlusion'"):
        model.explain(pictures(2))
    with pytest.raises(UsageError, match="estimator, which has no gradient"):
        model.activation_gradient(pictures(2), "layer1", np.eye(2, 3))
    assert np.abs(model.explain(pictures(2), method="occlusion", patch=8).raw).max() > 0


def test_an_ensemble_is_refused():
    with pytest.raises(UsageError, match="ensemble of 2 models has no map of its own"):
        Ensemble((build(), build(seed=4))).explain(pictures(1))


def test_images_that_cannot_be_read(tmp_path, capsys):
    model, x = build(), pictures(3)
    for i in (0, 2):
        Image.fromarray(x[i]).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableError, match=r"1\.png") as caught:
        model.explain(tmp_path, batch_size=2)
    found = model.explain(tmp_path, on_bad="report")
    assert "cannot read" in capsys.readouterr().err
    np.testing.assert_array_equal(caught.value.answers.maps, found.maps)
    assert np.isnan(found.maps[1]).all()
    assert np.isnan(found.raw[1]).all()
    assert (found.targets[1], found.target_names[1]) == (-1, None)
    np.testing.assert_allclose(found.raw[[0, 2]], model.explain(x[[0, 2]]).raw, rtol=1e-12)
    (tmp_path / "0.png").unlink(), (tmp_path / "2.png").unlink()
    nothing = model.explain(tmp_path, on_bad="report")
    assert np.isnan(nothing.maps).all()
    assert len(model.explain([])) == 0


def test_an_empty_map_is_zero_and_no_nan():
    model = build()
    model.set_weights({"fc.weight": -np.ones((3, 16))})
    found = model.explain(pictures(2), "ant")
    assert not found.raw.any()
    assert not found.maps.any()


def test_numbers_that_are_not_finite_are_refused():
    model = build()
    model.set_weights({"fc.bias": np.full(3, np.nan)})
    with pytest.raises(NumbersError, match="block 'head' are not finite"):
        model.explain(pictures(2))


def test_blocks_without_a_map():
    with pytest.raises(UnknownNameError, match="unknown block 'layr1'; did you mean 'layer1'"):
        build("fp32").explain(pictures(1), block="layr1")
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=CLASSES, image_size=8)
    full = model.stages["layer1"]
    model.stages["layer1"] = {**full, "layer1.pool": Pool()}
    small = pictures(1)[:, :8, :8]
    assert model.explain(small).block == "stem"  # of layer1 a single place is left
    with pytest.raises(UsageError, match=r"block 'layer1' of tiny gives \(N, 1, 1, 16\), no square map"):
        model.explain(small, block="layer1")
    model.stages["stem"] = {**model.stages["stem"], "pool": Pool()}
    model.stages["layer1"] = full
    with pytest.raises(UsageError, match="no block of tiny gives a square map"):
        model.explain(small)
