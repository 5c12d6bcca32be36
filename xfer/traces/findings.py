"""What a comparison of two traces finds: stages in the order of cause, and the vocabulary of causes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STAGES = ("pixels", "labels", "weights", "mode", "forward", "loss", "gradients", "update", "statistics")

# Cause: (stage, what it means). `docs/diff.md` has them as a table; a test compares the two.
CAUSES: dict[str, tuple[str, str]] = {
    "sample-order": ("pixels", "the batch has the same images in another order"),
    "other-images": ("pixels", "the batch has other images"),
    "channel-order": ("pixels", "RGB in one run, BGR in the other"),
    "value-range": ("pixels", "another range of values: [0, 255], [0, 1], [-1, 1]"),
    "normalisation": ("pixels", "another mean or standard deviation of the channels"),
    "flip": ("pixels", "images are mirrored in one run"),
    "crop": ("pixels", "another part of the image"),
    "resize": ("pixels", "another interpolation, or no antialiasing"),
    "decoder": ("pixels", "the files are decoded otherwise: differences of about one grey level"),
    "pixels": ("pixels", "the images differ for a reason that is not in this list"),
    "class-order": ("labels", "the same classes with other numbers"),
    "labels": ("labels", "other labels for the same images"),
    "initialisation": ("weights", "initial weights were drawn otherwise"),
    "weight-layout": ("weights", "a tensor was moved to the other framework in the wrong layout"),
    "weights": ("weights", "initial weights differ"),
    "norm-mode": ("mode", "batch statistics in one run, running statistics in the other"),
    "dropout": ("mode", "dropout is active in one run only, or with another rate"),
    "padding": ("forward", "other padding, such as SAME at stride 2 against the same number on all sides"),
    "stride": ("forward", "another stride, dilation, kernel size or number of groups"),
    "bias": ("forward", "a bias in one run only"),
    "norm-eps": ("forward", "another epsilon in a normalisation"),
    "norm-groups": ("forward", "a normalisation over other axes or groups"),
    "activation": ("forward", "another activation, or another form of it"),
    "pooling": ("forward", "another kind, size, stride or padding of pooling"),
    "flatten-order": ("forward", "(C, H, W) is flattened in one run, (H, W, C) in the other, before the same weights"),
    "missing-layer": ("forward", "a layer that only one run has"),
    "forward": ("forward", "a layer gives another output for the same input and weights"),
    "from-logits": ("loss", "logits are taken for probabilities, or probabilities for logits"),
    "reduction": ("loss", "a sum in one run, a mean in the other"),
    "label-smoothing": ("loss", "another amount of label smoothing"),
    "class-weights": ("loss", "samples or classes are weighted in one run"),
    "auxiliary": ("loss", "another weight of an auxiliary output"),
    "penalty": ("loss", "a penalty of the weights in the loss of one run"),
    "loss": ("loss", "another loss function"),
    "frozen": ("gradients", "a tensor that only one run trains"),
    "clipping": ("gradients", "gradients are clipped in one run, or by another rule"),
    "accumulation": ("gradients", "gradients of earlier passes are added up"),
    "gradient-scale": ("gradients", "gradients are those of another loss than the one that is reported"),
    "gradients": ("gradients", "gradients differ although all before them agrees"),
    "optimizer": ("update", "another update rule"),
    "learning-rate": ("update", "another learning rate"),
    "schedule": ("update", "the learning rate changes at other steps"),
    "momentum": ("update", "another momentum, dampening or beta"),
    "momentum-convention": ("update", "the rate is inside the velocity (Keras) or outside of it (PyTorch)"),
    "nesterov": ("update", "Nesterov's momentum in one run only"),
    "optimizer-eps": ("update", "another epsilon, or another place of it, in the update"),
    "weight-decay": ("update", "another decay, coupled or decoupled, or of other tensors"),
    "update": ("update", "another update from the same gradients"),
    "norm-momentum": ("statistics", "running statistics move at another rate"),
    "norm-variance": ("statistics", "the running variance is unbiased (PyTorch) or biased (Keras)"),
    "statistics": ("statistics", "running statistics differ for a reason that is not in this list"),
}


@dataclass(frozen=True)
class Finding:
    """One difference between two runs.

    Attributes:
        stage: one of `STAGES`.
        cause: one of `CAUSES`.
        where: layer or tensor, by the names of both runs where they differ, and how many more.
        difference: the largest difference it makes, relative to the largest value of the first run.
        evidence: what was computed that shows the cause.
        remedy: the line of code that makes the second run as the first.
    """

    stage: str
    cause: str
    where: str
    difference: float
    evidence: str
    remedy: str


def finding(cause: str, where: str | Sequence[str], difference: float, evidence: str, remedy: str) -> Finding:
    """A finding of a cause, at its stage; of several places the first is named."""
    places = [where] if isinstance(where, str) else list(where)
    more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
    return Finding(CAUSES[cause][0], cause, places[0] + more, float(difference), evidence, remedy)
