"""`xfer.sklearn.ImageClassifier` inside scikit-learn's own machinery; tests/torch and tests/keras subclass it."""

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline

import xfer
from xfer.errors import UsageError
from xfer.sklearn import ImageClassifier


class Scikit:
    """Set `backend`."""

    backend: str

    def classifier(self, **options):
        settings = {"weights": None, "image_size": 16, "epochs": 3, "lr": 0.05, "backend": self.backend} | options
        return ImageClassifier("tiny", **settings)

    @pytest.fixture(scope="class")
    def photos(self, tmp_path_factory):
        """Paths of 24 pictures in two colours, and their names."""
        folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
        paths, labels = [], []
        for i in range(24):
            pixels = rng.integers(0, 100, (16, 16, 3))
            pixels[..., i % 2] += 120
            paths.append(str(folder / f"{i}.png"))
            Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
            labels.append(("red", "green")[i % 2])
        return np.array(paths), np.array(labels)

    def test_it_is_the_trainer(self, photos):
        """The same weights as by hand, and the labels that were given."""
        paths, labels = photos
        fitted = self.classifier().fit(paths, labels)
        assert fitted.classes_.tolist() == ["green", "red"]
        assert fitted.score(paths, labels) > 0.9
        assert fitted.predict(list(paths[:2])).tolist() == ["red", "green"]
        places = np.searchsorted(fitted.classes_, labels)
        data = xfer.data.Data(
            xfer.data.Split([xfer.data.pictures(p).images[0] for p in paths], places, list(paths), ("0", "1")),
            None, None, ("0", "1"), "photos",
        )  # fmt: skip
        model = xfer.load("tiny", backend=self.backend, weights=None, classes=("0", "1"), image_size=16)
        model.freeze()
        xfer.Trainer(model, lr=0.05, progress=False).fit(data, 3)
        for name, array in model.weights().items():
            np.testing.assert_array_equal(fitted.model_.weights()[name], array)

    def test_cross_validation_and_grid_search(self, photos):
        paths, labels = photos
        scores = cross_val_score(self.classifier(), paths, labels, cv=2)
        assert scores.shape == (2,)
        assert scores.min() > 0.8
        pipeline = Pipeline([("classify", self.classifier())])
        search = GridSearchCV(pipeline, {"classify__epochs": [1, 3], "classify__lr": [1e-6, 0.05]}, cv=2)
        search.fit(paths, labels)
        assert search.best_params_["classify__lr"] == 0.05
        assert search.predict_proba(paths).shape == (24, 2)

    def test_arrays_estimators_and_clones(self, photos):
        paths, labels = photos
        images = np.stack([np.asarray(Image.open(path)) for path in paths])
        head = xfer.Head.sklearn(LogisticRegression())
        fitted = clone(self.classifier(head=head)).fit(images, labels)
        np.testing.assert_array_equal(fitted.predict(images), fitted.predict(paths))
        assert fitted.score(images, labels) > 0.9
        assert "epochs" in fitted.get_params()

    def test_refusals(self, photos):
        paths, labels = photos
        with pytest.raises(UsageError, match="24 images and y 3 labels"):
            self.classifier().fit(paths, labels[:3])
        with pytest.raises(UsageError, match="one class, 'red'"):
            self.classifier().fit(paths[::2], labels[::2])
