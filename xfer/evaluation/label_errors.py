"""Labels that look wrong, in the order of suspicion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfer.data.audit.duplicates import Place
from xfer.evaluation.confident import confident_joint
from xfer.evaluation.out_of_fold import groups_of_classes, out_of_fold


@dataclass(frozen=True)
class LabelError:
    """One label that was judged.

    Args:
        place: the image, with the label that it has.
        suggested: the most probable class by a classifier that has not seen the image.
        score: probability of the given label by that classifier; the lowest is the most suspicious.
        suspected: whether it is among the lowest, as many as confident learning counts label errors, and another class
            is more probable.
        task: of several tasks, its name.
    """

    place: Place
    suggested: str
    score: float
    suspected: bool
    task: str = ""


def judge_labels(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    places: Sequence[Place],
    classes: Sequence[str],
    task: str = "",
) -> tuple[list[LabelError], str]:
    """All labels that can be judged, the most suspicious first, and a remark on the others, or "".

    How many are wrong is what is off the diagonal of the confident joint; which, those of the lowest probability
    (Northcutt et al. 2021). The images in those cells themselves are fewer of the wrong ones: an image that reaches the
    threshold of no class is in no cell.

    Args:
        features: float (N, D).
        labels: int (N,), -1 for none.
        groups: int (N,), the same for images that show the same picture.
        places: of the images.
        classes: names of the labels.
        task: its name, if there are several.
    """
    known = np.flatnonzero(labels >= 0)
    sizes = np.zeros(len(classes), np.int64)
    if len(known):
        found = groups_of_classes(labels[known], groups[known])
        sizes[: len(found)] = found
    there = np.flatnonzero(sizes > 1)
    remark = _remark(classes, sizes, there, task)
    if len(there) < 2:
        return [], remark
    rows = known[np.isin(labels[known], there)]
    given = np.searchsorted(there, labels[rows])
    probabilities = out_of_fold(features[rows], given, groups[rows])
    best, scores = probabilities.argmax(axis=1), probabilities[np.arange(len(rows)), given]
    order = np.argsort(scores, kind="stable")
    joint = confident_joint(given, probabilities)
    errors = int(joint.sum() - joint.trace())
    suspected = np.isin(np.arange(len(rows)), order[:errors]) & (best != given)
    names = [classes[i] for i in there.tolist()]
    judged = [
        LabelError(
            Place(places[rows[i]].split, places[rows[i]].name, names[given[i]]),
            names[best[i]],
            float(scores[i]),
            bool(suspected[i]),
            task,
        )
        for i in order.tolist()
    ]
    return judged, remark


def _remark(classes: Sequence[str], sizes: np.ndarray, there: np.ndarray, task: str) -> str:
    which = f"labels of task {task}" if task else "labels"
    if len(there) < 2:
        return f"{which} cannot be judged: fewer than two classes have two different pictures"
    alone = [classes[i] for i in np.flatnonzero(sizes == 1).tolist()]
    if not alone:
        return ""
    more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
    return f"{which} of classes with one picture cannot be judged: {', '.join(alone[:5])}{more}"
