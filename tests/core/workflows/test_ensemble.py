"""Averaged models: by hand, on one pass for all heads, with weights that never make it worse."""

from dataclasses import replace

import numpy as np
import pytest

import xfer
from xfer.errors import CheckpointError, UsageError
from xfer.specs.decision import softmax
from xfer.testing import NumpyBackend
from xfer.workflows.bagging import bag
from xfer.workflows.ensemble import Ensemble, Member


def build(seed=0):
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=list("abc"), image_size=16, seed=seed)


@pytest.fixture
def members(data):
    models = [build(seed) for seed in range(3)]
    for seed, model in enumerate(models):
        xfer.Trainer(model, lr=0.02, seed=seed, progress=False).fit(data, 1 + seed)
    return models


def test_probabilities_are_the_weighted_mean(members, data):
    ensemble = Ensemble(tuple(members), (1.0, 2.0, 1.0))
    each = [softmax(model.evaluate(data).logits) for model in members]
    expected = 0.25 * each[0] + 0.5 * each[1] + 0.25 * each[2]
    np.testing.assert_allclose(ensemble.predict_proba(data.val), expected, atol=1e-6)
    found = ensemble.evaluate(data)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    loss = -np.log(expected[np.arange(15), data.val.labels]).mean()
    assert found.metrics["loss"] == pytest.approx(loss, rel=1e-9)
    assert [p.label for p in ensemble.predict(data.val)] == ["abc"[k] for k in expected.argmax(1)]


def test_votes_are_no_worse_than_any_member(members, data):
    voted = Ensemble(tuple(members)).vote(data)
    best = min(model.evaluate(data).metrics["loss"] for model in members)
    assert voted.evaluate(data).metrics["loss"] <= best + 1e-9
    assert sum(voted.weights) == pytest.approx(1)


def test_bagging_is_heads_on_one_pass(data, monkeypatch):
    model = build()
    backbone = {n: a for n, a in model.weights().items() if not n.startswith("fc")}
    ensemble = bag(model, data, members=3, epochs=4, seed=5, lr=0.05)
    assert {id(m.model) for m in ensemble.members} == {id(model)}
    assert all((model.weights()[n] == a).all() for n, a in backbone.items())
    # One head, again by hand: the same draws, seed and epochs on features.
    other = build()
    features = xfer.extract(other, data)
    drawn = np.random.default_rng([5, 1]).integers(0, 60, 60)
    other.replace_head(list("abc"), None, 6)
    other.freeze()
    chosen = replace(features, train=features.train.subset(drawn))
    xfer.Trainer(other, lr=0.05, seed=6, progress=False).fit(chosen, 4)
    np.testing.assert_array_equal(ensemble.members[1].head["fc.weight"], other.weights()["fc.weight"])
    passes = []
    monkeypatch.setattr(type(model), "normalise", counting(type(model).normalise, passes))
    ensemble.evaluate(data, cache=False)
    assert len(passes) == 1, "one batch through the backbone for three heads"
    single = []
    for member in ensemble.members:
        with Member(model, member.head).active() as active:
            single.append(active.evaluate(data).logits)
    assert not np.allclose(single[0], single[1])


def counting(function, seen):
    def counted(self, images):
        seen.append(len(images))
        return function(self, images)

    return counted


def test_refusals(members, data, tmp_path):
    with pytest.raises(UsageError, match="has no members"):
        Ensemble(())
    other = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16)
    with pytest.raises(UsageError, match="different classes"):
        Ensemble((members[0], other))
    with pytest.raises(UsageError, match="one number >= 0 for each of 3 members"):
        Ensemble(tuple(members), (1.0,))
    with pytest.raises(CheckpointError, match="is no ensemble"):
        Ensemble.load(tmp_path)
    for text in ("{", '{"format": 1}', '{"format": 1, "members": [{"run": "../x", "head": null}], "weights": [1]}'):
        (tmp_path / "ensemble.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"damaged|outside"):
            Ensemble.load(tmp_path)


def test_bagged_heads_read_the_columns_of_the_model(data):
    """Bagging replaces the head by others like it: with the columns beside the features."""
    model = build()
    model.replace_head(list("abc"), columns=2)
    cells = np.random.default_rng(0).standard_normal((60, 2))
    beside = replace(data.train, columns=cells.astype(object), column_names=("x", "y"))
    columns = xfer.Columns.fit(replace(data, train=beside, val=None))
    model.replace_head(list("abc"), columns=columns)
    ensemble = bag(model, replace(data, train=beside, val=None), members=2, epochs=1)
    assert all(member.head["fc.weight"].shape == (3, model.card.feature_dim + 2) for member in ensemble.members)


def test_a_pseudo_label_may_be_a_class_that_the_data_lacks(data):
    """The model knows three classes, the data two of them, in another order."""
    from xfer.workflows.pseudo_labels import pseudo_label

    model = build()
    xfer.Trainer(model, lr=0.05, progress=False).fit(data, 6)
    labels = np.where(data.train.labels == 2, 0, np.where(data.train.labels == 0, 1, -1))  # of ("c", "a")
    fewer = replace(data, train=replace(data.train, labels=labels, classes=("c", "a")), val=None, classes=("c", "a"))
    found, report = pseudo_label(model, fewer, threshold=0.4)
    assert found.classes == ("a", "b", "c")
    known = labels >= 0
    assert [found.classes[i] for i in found.train.labels[known]] == [("c", "a")[i] for i in labels[known]]
    assert {label for _, label, _ in report.given} == {"b"}
