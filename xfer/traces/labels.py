"""Stage two: do the same images have the same labels?"""

from __future__ import annotations

import numpy as np

from xfer.traces.context import Context
from xfer.traces.view import Array


def class_numbers(labels: Array) -> Array:
    """Numbers of classes (N,), of numbers (N,) or (N, 1) or of distributions (N, K)."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        return np.asarray(labels.argmax(1))
    return labels.reshape(len(labels)).astype(np.int64)


def labels(context: Context) -> None:
    """Compare the labels of all steps whose images are the same."""
    if any(each.cause == "other-images" for each in context.findings):
        context.notes.append("labels: not compared, for the batches hold other images")
        return
    ours, theirs = [], []
    for step in context.steps:
        a, b = context.batch("batch/labels", step)
        if a is None or b is None or len(a) != len(b):
            context.notes.append(f"labels of step {step}: not recorded in both runs; give them to recorder.step")
            continue
        if np.issubdtype(a.dtype, np.number) and a.size and b.size:
            ours.append(class_numbers(a))
            theirs.append(class_numbers(b))
    if not ours:
        return
    a, b = np.concatenate(ours), np.concatenate(theirs)
    wrong = a != b
    if not wrong.any():
        return
    share = float(wrong.mean())
    numbers = dict(zip(a.tolist(), b.tolist(), strict=True))
    one_to_one = all(numbers[x] == y for x, y in zip(a.tolist(), b.tolist(), strict=True))
    if one_to_one and len(set(numbers.values())) == len(numbers):
        moved = {x: y for x, y in sorted(numbers.items()) if x != y}
        said = ", ".join(f"{_name(context, x)} of a is {y} in b" for x, y in list(moved.items())[:4])
        named = context.a.notes.classes
        remedy = (
            f"classes = {named!r}" if named else "sort the classes in the same way, and give their list to the data set"
        )
        context.add("class-order", "labels", share, f"class {said}, in all {len(a)} labels", remedy)
    else:
        context.add("labels", "labels", share, f"{int(wrong.sum())} of {len(a)} labels differ", "read the same labels")


def _name(context: Context, number: int) -> str:
    names = context.a.notes.classes
    return f"{number} ({names[number]})" if 0 <= number < len(names) else str(number)
