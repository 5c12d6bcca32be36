"""Which images a page shows, against sorting by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xfer.report.worst import MOST_MISTAKES, MOST_OF_A_PAIR, confused_pairs, mistakes


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 5))
def test_mistakes_and_pairs(seed, count, classes):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, classes, (2, count))
    losses, confidence = rng.random((2, count))
    wrong = [i for i in range(count) if labels[i] != predicted[i]]
    by_loss = sorted(wrong, key=lambda i: -losses[i])
    by_confidence = sorted(wrong, key=lambda i: -confidence[i])
    first, second = mistakes(labels != predicted, losses, confidence)
    assert first == by_loss[: len(first)]
    assert not set(first) & set(second)
    assert len(first) + len(second) == min(len(wrong), MOST_MISTAKES)
    rest = [i for i in by_confidence if i not in first]
    assert second == rest[: len(second)]
    pairs = confused_pairs(labels, predicted, confidence, most=100)
    assert sum(pair.count for pair in pairs) == len(wrong)
    assert [pair.count for pair in pairs] == sorted((pair.count for pair in pairs), reverse=True)
    for pair in pairs:
        of = [i for i in by_confidence if (labels[i], predicted[i]) == (pair.true, pair.predicted)]
        assert list(pair.rows) == of[:MOST_OF_A_PAIR]
        assert pair.count == len(of)


def test_two_classes_have_one_order():
    """Where the loss is that of the confidence, the same images are not shown twice."""
    confidence = np.linspace(0.5, 0.9, 30)
    first, second = mistakes(np.ones(30, bool), -np.log(1 - confidence), confidence)
    assert first == list(range(29, 29 - MOST_MISTAKES, -1))
    assert second == []
