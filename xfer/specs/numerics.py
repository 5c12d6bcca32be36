"""What PyTorch and Keras do differently by default: the parts, each framework's habit, and where it is written.

`Numerics` says which habit a model and its training have; nothing said is what xfer does, PyTorch's semantics with the
constants that the weights were trained with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from xfer.errors import UnknownNameError, UsageError
from xfer.specs.preprocessing import Preprocessing

Framework = Literal["torch", "keras"]
Value = str | float

FRAMEWORKS: dict[str, Framework] = {"torch": "torch", "pytorch": "torch", "keras": "keras", "tensorflow": "keras"}
BUFFER = 8  # batches that image_dataset_from_directory shuffles among
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SYMMETRIC = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
KERAS_EPS = 1e-7
KERAS_DECAY = {"adamw": 0.004}  # of those that decay by default
_CROP = 0.875  # share of the shorter side that torchvision's presets keep: 224 of 256 pixels


@dataclass(frozen=True)
class Part:
    """One difference.

    Args:
        name: as the command line has it; `field` is that of `Numerics`.
        torch, keras: the value that each framework's habit has.
        what: both habits in words, PyTorch's first.
        source: where they are written, PyTorch's first.
        others: further values.
    """

    name: str
    torch: Value
    keras: Value
    what: tuple[str, str]
    source: tuple[str, str]
    others: tuple[Value, ...] = ()

    @property
    def field(self) -> str:
        """Name of the field."""
        return self.name.replace("-", "_")

    def of(self, framework: Framework) -> Value:
        """The value of a framework's habit."""
        return self.torch if framework == "torch" else self.keras

    def parse(self, text: str) -> Value:
        """The value that a text names.

        Raises:
            UnknownNameError: none of its values. UsageError: not a positive number, where it is one.
        """
        if isinstance(self.torch, str):
            known = [str(value) for value in (self.torch, self.keras, *self.others)]
            if text not in known:
                raise UnknownNameError(f"value of {self.name}", text, known)
            return text
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < 1:
            raise UsageError(f"{self.name}={text}: give a number between 0 and 1, such as {self.torch:g}")
        return number


_PARTS = (
    Part(
        "resize",
        "antialiased",
        "bilinear",
        ("Pillow's bilinear filter, antialiased", "tf.image.resize, bilinear without antialiasing"),
        ("torchvision.transforms.Resize of a Pillow image", "keras/src/utils/image_dataset_utils.py: load_image"),
        ("nearest",),  # keras/src/utils/image_utils.py: load_img
    ),
    Part(
        "crop",
        "centre",
        "squash",
        ("shorter side to 8/7 of the size, central crop", "both sides to the size, whatever their ratio"),
        (
            "torchvision.transforms._presets: ImageClassification",
            "keras.utils.image_dataset_from_directory: crop_to_aspect_ratio=False",
        ),
    ),
    Part(
        "normalisation",
        "imagenet",
        "symmetric",
        ("mean and standard deviation of ImageNet", "pixels from -1 to 1"),
        (
            "torchvision.transforms._presets: ImageClassification",
            'keras/src/applications/imagenet_utils.py: preprocess_input(mode="tf")',
        ),
    ),
    Part(
        "padding",
        "symmetric",
        "same",
        ("zeros of half a kernel on all sides", '"same": at stride 2 more zeros at the bottom and right'),
        ("torch.nn.Conv2d(padding=kernel // 2)", 'keras.layers.Conv2D(padding="same")'),
    ),
    Part(
        "norm-eps",
        1e-5,
        1e-3,
        ("epsilon of batch normalisation 1e-5", "epsilon of batch normalisation 1e-3"),
        ("torch.nn.BatchNorm2d", "keras.layers.BatchNormalization"),
    ),
    Part(
        "norm-momentum",
        0.1,
        0.01,
        ("a batch moves running statistics by 0.1", "a batch moves them by 0.01, momentum=0.99"),
        ("torch.nn.BatchNorm2d", "keras.layers.BatchNormalization"),
    ),
    Part(
        "norm-variance",
        "unbiased",
        "biased",
        ("running variance divides by n - 1", "running variance divides by n"),
        ("torch.nn.BatchNorm2d", "keras/src/layers/normalization/batch_normalization.py: call"),
    ),
    Part(
        "head-init",
        "uniform",
        "glorot",
        ("weights and biases U(-1, 1) / sqrt(in)", "glorot_uniform weights, biases 0"),
        ("torch.nn.Linear.reset_parameters", "keras.layers.Dense"),
    ),
    Part(
        "optimizer",
        "torch",
        "keras",
        (
            "torch.optim's rule, epsilon of Adam 1e-8",
            "keras.optimizers' rule, epsilon 1e-7, outside of the bias correction; the rate is in SGD's velocity",
        ),
        ("torch/optim/adam.py, sgd.py", "keras/src/optimizers/adam.py, sgd.py: update_step"),
    ),
    Part(
        "decay",
        "torch",
        "keras",
        (
            "AdamW 0.01; SGD and Adam add weight_decay * weight to the gradient",
            "AdamW 0.004; all rules take rate * weight_decay * weight from the weight",
        ),
        ("torch/optim/adamw.py, sgd.py", "keras/src/optimizers/base_optimizer.py: _apply_weight_decay"),
    ),
    Part(
        "reduction",
        "weights",
        "count",
        ("weighted losses over the sum of the weights", "over the number of images"),
        ("torch.nn.CrossEntropyLoss(weight=...)", "keras/src/losses/loss.py: reduce_values"),
    ),
    Part(
        "last-batch",
        "drop",
        "keep",
        ("a last batch that is not full is left out of training", "it is trained on"),
        ("timm/data/loader.py: create_loader (torch's own DataLoader keeps it)", "keras.Model.fit"),
    ),
    Part(
        "shuffle",
        "all",
        "buffer",
        ("a permutation of all images", "one fixed permutation, then a buffer of 8 batches"),
        ("torch.utils.data.RandomSampler", "keras/src/utils/image_dataset_utils.py: shuffle_buffer_size"),
    ),
    Part(
        "augmentation-order",
        "crop-first",
        "resize-first",
        ("random crop of the original, then resize", "resize, then random crop of what is left"),
        ("torchvision.transforms.RandomResizedCrop", "keras.layers.RandomCrop after image_dataset_from_directory"),
    ),
)
PARTS: dict[str, Part] = {part.name: part for part in _PARTS}


@dataclass(frozen=True)
class Numerics:
    """Which framework's habit each part has; None is what xfer does, the constants of the card included.

    Args:
        resize: "antialiased": Pillow's bilinear filter. "bilinear": `tf.image.resize`'s, without antialiasing, rounded
            to whole levels. "nearest": Pillow's, as `keras.utils.load_img` has it.
        crop: "centre": the shorter side is resized to 8/7 of the size, and the centre is cut out. "squash": both sides
            are resized to the size.
        normalisation: "imagenet" or "symmetric", from -1 to 1.
        padding: of convolutions with a stride and an odd kernel that are padded: "symmetric" or "same".
        norm_eps, norm_momentum: of batch normalisation, in torch's sense of momentum.
        norm_variance: "unbiased" or "biased" running variance.
        head_init: "uniform", torch.nn.Linear's, or "glorot", keras.layers.Dense's.
        optimizer: "torch" or "keras": the form of SGD, Adam and AdamW, and the default of Adam's epsilon.
        decay: "torch" or "keras": how weights decay, and AdamW's default.
        reduction: of a loss with class weights: over the sum of the "weights", or the "count" of images.
        last_batch: "drop" or "keep" one that is not full.
        shuffle: "all", or "buffer".
        augmentation_order: "crop-first" or "resize-first".
    """

    resize: Literal["antialiased", "bilinear", "nearest"] | None = None
    crop: Literal["centre", "squash"] | None = None
    normalisation: Literal["imagenet", "symmetric"] | None = None
    padding: Literal["symmetric", "same"] | None = None
    norm_eps: float | None = None
    norm_momentum: float | None = None
    norm_variance: Literal["unbiased", "biased"] | None = None
    head_init: Literal["uniform", "glorot"] | None = None
    optimizer: Literal["torch", "keras"] | None = None
    decay: Literal["torch", "keras"] | None = None
    reduction: Literal["weights", "count"] | None = None
    last_batch: Literal["drop", "keep"] | None = None
    shuffle: Literal["all", "buffer"] | None = None
    augmentation_order: Literal["crop-first", "resize-first"] | None = None

    def __post_init__(self) -> None:
        for part in PARTS.values():
            value = getattr(self, part.field)
            if value is not None:
                part.parse(str(value))

    def __repr__(self) -> str:
        for framework in get_args(Framework):
            if self == Numerics.habits(framework):
                return f"Numerics.habits({framework!r})"
        return f"Numerics({', '.join(f'{name}={value!r}' for name, value in self.given.items())})"

    @classmethod
    def habits(cls, framework: str) -> Numerics:
        """All habits of "torch" ("pytorch") or "keras" ("tensorflow").

        Raises:
            UnknownNameError: another name.
        """
        if framework not in FRAMEWORKS:
            raise UnknownNameError("framework", framework, FRAMEWORKS)
        return cls(**{part.field: part.of(FRAMEWORKS[framework]) for part in PARTS.values()})  # type: ignore[arg-type]

    @property
    def given(self) -> dict[str, Value]:
        """What is not xfer's own, by field."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    @property
    def of_forward(self) -> dict[str, Value]:
        """What decides outputs of the network in inference, beside its preprocessing; for digests."""
        return {name: value for name, value in self.given.items() if name in ("padding", "norm_eps")}

    def with_part(self, part: Part, value: Value) -> Numerics:
        """The same with another value of one part."""
        changed: Mapping[str, Any] = {part.field: value}
        return replace(self, **changed)

    def preprocessing(self, recipe: Preprocessing) -> Preprocessing:
        """A preprocessing with these habits in the place of its own."""
        changed: dict[str, Any] = {}
        if self.resize is not None:
            filter_ = "nearest" if self.resize == "nearest" else "bilinear"
            changed |= {"interpolation": filter_, "antialias": self.resize != "bilinear"}
        if self.crop is not None:
            squash = self.crop == "squash"
            changed |= {"squash": squash, "resize": recipe.size if squash else round(recipe.size / _CROP)}
        if self.normalisation is not None:
            mean, std = IMAGENET if self.normalisation == "imagenet" else SYMMETRIC
            changed |= {"mean": mean, "std": std}
        if self.augmentation_order is not None:
            changed |= {"resize_first": self.augmentation_order == "resize-first"}
        return replace(recipe, **changed)

    def check_own(self, doing: str) -> None:
        """Refuse what would lose the habits of another framework.

        Raises:
            UsageError: something is not xfer's own.
        """
        if given := self.given:
            named = ", ".join(name.replace("_", "-") for name in given)
            raise UsageError(
                f"a model with other numerics than xfer's own ({named}) cannot be {doing}: load it without numerics"
            )


assert {f.name for f in fields(Numerics)} == {part.field for part in PARTS.values()}
assert set(get_args(Framework)) == set(FRAMEWORKS.values())
