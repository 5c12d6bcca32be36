"""AugmentedFeatures for test-time augmentation are torchvision's crops; the answer is the mean over them."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import FiveCrop, Resize, TenCrop

import xfer
from xfer.data.transforms.test_time import views_of
from xfer.errors import UnknownNameError
from xfer.specs.decision import Decision, softmax
from xfer.specs.preprocessing import Preprocessing

RECIPE = Preprocessing(20, 24)
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 55, 3)).astype(np.uint8))


@pytest.mark.parametrize(("tta", "crops"), [("five-crop", FiveCrop(20)), ("ten-crop", TenCrop(20))])
def test_crops_are_torchvisions(tta, crops):
    ours = [np.asarray(view.prepare(PICTURE, RECIPE)).tobytes() for view in views_of(tta)]
    theirs = [np.asarray(crop).tobytes() for crop in crops(Resize(24)(PICTURE))]
    assert sorted(ours) == sorted(theirs)


def test_the_answer_is_the_mean_over_views():
    model = xfer.load("tiny", backend="torch", weights=None, classes=list("ab"), image_size=20)
    mirror = PICTURE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    expected = (model.predict_proba(PICTURE) + model.predict_proba(mirror)) / 2
    np.testing.assert_allclose(model.predict_proba(PICTURE, tta="flip"), expected, rtol=1e-6)
    images = np.random.default_rng(1).integers(0, 256, (6, 30, 20, 3)).astype(np.uint8)
    data = xfer.data.arrays(images, [0, 1] * 3, images, [0, 1] * 3, classes=["a", "b"])
    found = model.evaluate(data, tta="ten-crop")
    np.testing.assert_allclose(found.probabilities, model.predict_proba(data.val, tta="ten-crop"), rtol=1e-5)
    plain = softmax(model.evaluate(data).logits)
    assert np.abs(plain - found.probabilities).max() > 0
    middle = float(np.median(found.probabilities[:, 1]))
    model.decision = Decision(thresholds=(1 - middle, middle))
    judged = model.evaluate(data, tta="ten-crop")
    assert 0 < judged.predicted.sum() < 6
    assert [p.label for p in model.predict(data.val, tta="ten-crop")] == ["ab"[k] for k in judged.predicted]
    with pytest.raises(UnknownNameError, match="did you mean 'flip'"):
        model.predict(PICTURE, tta="flop")
