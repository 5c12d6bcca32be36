"""`xfer.load`: from a name or a run to a model on a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xfer.checkpoints.backbone import Original
from xfer.checkpoints.checkpoint import Checkpoint, hub_run, is_checkpoint, open_checkpoint
from xfer.data.columns import Columns
from xfer.errors import CheckpointError, UnknownNameError, UsageError, WeightsError
from xfer.models import lora, pretrained
from xfer.models.backend import Backend, any_backend
from xfer.models.base_model import BaseModel
from xfer.models.pretrained import Pretrained
from xfer.models.spec import ModelSpec
from xfer.runtime.devices import deterministic as resolve_deterministic
from xfer.runtime.progress import step
from xfer.specs.head import EstimatorHead, Head
from xfer.specs.initialization import initial_weights
from xfer.specs.lora import is_adapter
from xfer.specs.names import class_names
from xfer.specs.numerics import Numerics
from xfer.specs.precision import Precision
from xfer.specs.preprocessing import Decoding, MissingPixels, Preprocessing
from xfer.specs.tasks import Task, output_names
from xfer.weights import NAMED
from xfer.weights.hub import HubAddress, is_hub
from xfer.weights.source import published
from xfer.zoo import card as find_card
from xfer.zoo import cards, keras_card

PRECISIONS = ("fp32", "fp64", "bf16")


def load(
    model: str | Path,
    *,
    backend: str | Backend | None = None,
    weights: str | Path | None = "imagenet",
    classes: Sequence[str] | int | None = None,
    head: Head | EstimatorHead | None = None,
    tasks: Sequence[Task] = (),
    columns: Columns | int | None = None,
    device: str = "auto",
    precision: str | None = None,
    image_size: int | None = None,
    missing_pixels: MissingPixels | None = None,
    decode: Decoding | None = None,
    dropout: bool = True,
    compile: bool = False,
    deterministic: bool | None = None,
    seed: int = 0,
    numerics: Numerics | None = None,
) -> BaseModel:
    """A model, ready to predict, freeze and train.

    Args:
        model: an architecture's name (`xfer models` lists them), or a run: its folder ("./name" where that has the name
            of an architecture), or "hf://owner/repo[@revision]" for one that was pushed to the hub.
        backend: "torch", "tensorflow" (alias "keras"), "jax", another registered name, or a `Backend`. By default the
            run's own if it is installed, else the first that is.
        weights: "imagenet" (the best published), "timm" (timm's best, on the hub), the name of a published entry
            ("IMAGENET1K_V1", "lvd142m"), "package", a path (a run, `.safetensors` and its index, `.pth`, `.ckpt`,
            `.h5`, `.keras`; "x.pth#model" chooses a state dict or a prefix of names, see docs/concepts.md),
            "hf://owner/repo[@revision][/file]" (`.safetensors` or a run on the hub), "keras" for what Keras publishes
            of that name, or None to start from seeded random weights. Files of keras.applications give its network.
            A run brings its own.
        classes: names or a number, for a new head with seeded weights; None keeps the head that the weights have
            (ImageNet's 1,000 classes, or the run's).
        head: the new head's shape; linear by default. `Head.sklearn(estimator)` is one of scikit-learn's classifiers.
        tasks: several tasks in place of `classes`, for a new head each.
        columns: numbers beside the image that join the features before a new head: `Columns` that were fitted, or how
            many there are.
        device: "auto", "cpu", "cuda", "cuda:1", "gpu:0" or "mps".
        precision: "fp32", "fp64", "bf16", or "auto": bfloat16 where the device is fast at it and the features of the
            first images agree with those of float32, else float32. By default that of a run, if
            the device is fast at it, and "auto" otherwise.
        image_size: input size in pixels, by default that of the weights. Position embeddings of vision transformers are
            resized to it, and stderr says so.
        missing_pixels: what pixels of alpha 0 become: "keep", "mean", "neighbours" or "inpaint", see
            `xfer.Preprocessing`; a run brings its own, else "keep".
        decode: "full", or "draft" to decode large JPEGs faster with slightly other pixels, see `xfer.Preprocessing`; a
            run brings its own, else "full".
        compile: True tries torch.compile or XLA on the first batch, and keeps it if it is faster; stderr says after how
            many batches it has paid.
        deterministic: True for the same bits from each run on this machine with these versions and as many threads; by
            default on the CPU alone, and not with `compile`. On an accelerator it is slower, and what has no such
            algorithm there is refused (docs/reproducibility.md). With `compile` it means compiled, without comparing.
        dropout: False leaves out the network's own dropout and stochastic depth (the head's is its own matter).
        seed: of the weights that are drawn.
        numerics: what is to be as PyTorch or Keras has it by default, in the network, its preprocessing and its
            training, see `xfer.Numerics`. Such a model is trained and evaluated, but not saved or exported.

    Raises:
        UnknownNameError, BackendError, DeviceError, WeightsError, CheckpointError, UsageError: in one line each.
    """
    new = _new_head(classes, head, tuple(tasks), columns, seed)
    given = _Given(
        device, precision, image_size, missing_pixels, decode, dropout, compile, deterministic, seed, numerics
    )
    if is_hub(model) or (not is_architecture(model) and is_checkpoint(model)):
        return _load_run(open_checkpoint(model), backend, new, given)
    if isinstance(model, Path) or "/" in model or model.startswith("~"):
        raise UsageError(f"{str(model)!r} is no run: expected a folder with a manifest.json, or a model's name")
    card = find_card(model)
    if weights == "keras":
        card, weights = keras_card(model), "imagenet"
    engine = any_backend(backend)
    named = (*NAMED, None, *(entry.name for entry in card.weights))
    run = _run_of(weights) if weights not in named else None
    if run is not None:
        if run.manifest.model != card.name:
            raise WeightsError(f"{run.path} holds a {run.manifest.model}, not a {card.name}: load it by that name")
        return _load_run(run, engine, new, given)
    with step(f"reading the weights of {card.name}"):
        found = pretrained.read(card, weights, new is not None)
    preprocessing = found.preprocessing if found else card.preprocessing
    on = engine.resolve_device(device)
    spec = ModelSpec(
        card=found.card if found else card,
        head=Head(),
        classes=pretrained.classes(found),
        preprocessing=given.preprocessing(preprocessing),
        precision=_precision(precision),
        device=on,
        dropout=dropout,
        compile=compile,
        deterministic=resolve_deterministic(deterministic, on, compile),
        numerics=numerics or Numerics(),
    )
    if found is None and new is not None:
        spec = new.on(spec)
    ready = _ready(engine, spec, found, new, seed)
    ready.undecided = precision in (None, "auto") and engine.fast_bf16(spec)
    ready.source = found.origin if found else None
    ready.original = Original(found.again, pretrained.read_again) if found and found.again else None
    return ready


def preprocessing_of(
    model: str,
    *,
    weights: str | Path | None = "imagenet",
    image_size: int | None = None,
    missing_pixels: MissingPixels | None = None,
    decode: Decoding | None = None,
) -> Preprocessing:
    """The preprocessing of the model that `load` returns for these arguments; no published weights are downloaded.

    Raises:
        UnknownNameError, WeightsError, CheckpointError, UsageError: as `load`.
    """
    card = keras_card(model) if weights == "keras" else find_card(model)
    word = "imagenet" if weights == "keras" else weights
    entry = published(word, card.weights, model=card.name) if isinstance(word, str) and not is_hub(word) else None
    run = _run_of(word) if entry is None else None
    if entry is not None:
        found = card.preprocessing_for(entry.name)
    elif run is not None:
        found = run.manifest.preprocessing
    else:
        held = pretrained.read(card, word, True)
        found = card.preprocessing if held is None else held.preprocessing
    given = _Given("cpu", None, image_size, missing_pixels, decode, True, False, None, 0).preprocessing(found)
    card.at(given.size)
    return given


def _run_of(weights: str | Path | None) -> Checkpoint | None:
    """The run that weights are taken from, where they are no file."""
    if isinstance(weights, str) and is_hub(weights):
        return hub_run(weights) if HubAddress.parse(weights).file is None else None
    return open_checkpoint(weights) if weights is not None and is_checkpoint(weights) else None


def is_architecture(model: str | Path) -> bool:
    """Whether this is a name of the zoo, whatever a folder here is called: "./resnet50" is the folder."""
    return isinstance(model, str) and any(model == each.name for each in cards())


@dataclass(frozen=True)
class _NewHead:
    """The head that is wanted in place of that of the weights."""

    classes: tuple[str, ...]
    head: Head | EstimatorHead
    tasks: tuple[Task, ...]
    columns: Columns | None
    width: int
    seed: int

    @property
    def outputs(self) -> str:
        """What it tells apart, for messages."""
        return f"{len(self.tasks)} tasks" if self.tasks else f"{len(self.classes)} classes"

    def on(self, spec: ModelSpec) -> ModelSpec:
        head = self.head if isinstance(self.head, Head) else Head()
        return replace(spec, classes=self.classes, head=head, tasks=self.tasks, columns=self.width)

    def give(self, model: BaseModel) -> None:
        names = self.tasks or self.classes
        model.replace_head(names, self.head, self.seed, columns=self.columns or self.width)


def _new_head(
    classes: Sequence[str] | int | None,
    head: Head | EstimatorHead | None,
    tasks: tuple[Task, ...],
    columns: Columns | int | None,
    seed: int,
) -> _NewHead | None:
    if classes is None and not tasks:
        if head is not None or columns is not None:
            raise UsageError("a head is given without classes: say which classes the new head tells apart")
        return None
    if classes is not None and tasks:
        raise UsageError("classes and tasks are both given: a task brings its own classes")
    names = output_names(tasks) if classes is None else class_names(classes)
    width = columns if isinstance(columns, int) else columns.width if columns else 0
    fitted = None if isinstance(columns, int) else columns
    return _NewHead(names, head or Head(), tasks, fitted, width, seed)


@dataclass(frozen=True)
class _Given:
    """What `load` was told of how the network is to run; None for what was not said."""

    device: str
    precision: str | None
    image_size: int | None
    missing_pixels: MissingPixels | None
    decode: Decoding | None
    dropout: bool
    compile: bool
    deterministic: bool | None
    seed: int
    numerics: Numerics | None = None

    def preprocessing(self, of_weights: Preprocessing) -> Preprocessing:
        """That of the weights, with what was said of it."""
        missing, decode = self.missing_pixels or of_weights.missing, self.decode or of_weights.decode
        recipe = replace(of_weights, missing=missing, decode=decode)
        sized = recipe.at(self.image_size) if self.image_size else recipe
        return self.numerics.preprocessing(sized) if self.numerics else sized


def _load_run(run: Checkpoint, backend: str | Backend | None, new: _NewHead | None, given: _Given) -> BaseModel:
    manifest = run.manifest
    if manifest.model.startswith("wrapped:"):
        raise WeightsError(
            f"{run.path} holds {manifest.model}, a network that xfer did not build: build it yourself and give the run "
            f"to xfer.wrap(network, backend={manifest.backend!r}, head=..., weights=...), whose result Trainer.resume "
            "takes as model"
        )
    engine = any_backend(backend, manifest.backend)
    device = engine.resolve_device(given.device)
    spec = ModelSpec(
        card=find_card(manifest.model),
        head=manifest.head,
        classes=manifest.classes,
        preprocessing=given.preprocessing(manifest.preprocessing),
        precision=_precision(given.precision or manifest.precision),
        device=device,
        dropout=given.dropout and manifest.dropout,
        compile=given.compile,
        deterministic=resolve_deterministic(given.deterministic, device, given.compile),
        columns=manifest.columns,
        tasks=manifest.tasks,
        numerics=given.numerics or Numerics(),
    )
    arrays, original = run.weights(), None
    check_heads(spec, arrays, run)
    if manifest.backbone is not None:
        original = Original(manifest.backbone.weights, pretrained.read_again)
        arrays |= original.tensors(spec.card, manifest.backbone, run.path)
    fast = engine.fast_bf16(spec)
    if given.precision is None and spec.precision == "bf16" and not fast:
        spec = replace(spec, precision="fp32")
    plain = {name: array for name, array in arrays.items() if not (manifest.lora and is_adapter(name))}
    model = _ready(engine, spec, Pretrained(spec.card, plain, spec.preprocessing, str(run.path)), new, given.seed)
    model.original = original
    if manifest.lora is not None:
        lora.restore(model, manifest.lora, arrays, run.path)
    model.undecided = (given.precision or manifest.precision) == "auto" and fast
    model.source, model.resized = run.source, model.resized or manifest.resized
    if new is None:
        model.columns, model.decision, model.estimator = run.columns(), manifest.decision, run.estimator()
        model.freezer.restore(name for name in manifest.trainable if name in model.shapes())
    return model


def check_heads(spec: ModelSpec, arrays: Mapping[str, np.ndarray], run: Checkpoint) -> None:
    """Refuse a manifest whose heads are not those of its tensors, before memory is taken for what it says.

    Raises:
        CheckpointError: a tensor of a head is missing or has another shape.
    """
    for prefix, (head, outputs) in spec.heads.items():
        for name, shape in head.shapes(prefix, spec.head_inputs, outputs).items():
            if name not in arrays or arrays[name].shape != shape:
                found = arrays[name].shape if name in arrays else "missing"
                raise CheckpointError(f"{run.path} is damaged: {name} is {found}, its manifest says {shape}")


def _ready(
    engine: Backend,
    spec: ModelSpec,
    weights: Pretrained | None,
    new: _NewHead | None,
    seed: int,
) -> BaseModel:
    """Build the network as the weights have it, fill it, then give it the head asked for."""
    with step(f"building {spec.card.name}"):
        model = engine.build(spec)
    if weights is None:
        heads = spec.initial_heads(seed)
        backbone = {name: shape for name, shape in model.shapes().items() if name not in heads}
        model.write(initial_weights(backbone, seed) | heads)
    else:
        model.write(pretrained.fitted(weights, model, new.outputs if new else None, seed))
    model.set_trainable(frozenset(model.freezable))
    if new is not None:
        if weights is None:
            model.columns = new.columns
            model.estimator = new.head if isinstance(new.head, EstimatorHead) else None
        else:
            new.give(model)
    return model


def _precision(name: str | None) -> Precision:
    if name in (None, "auto"):
        return "fp32"
    if name not in PRECISIONS:
        raise UnknownNameError("precision", name, (*PRECISIONS, "auto"))
    return name  # type: ignore[return-value]
