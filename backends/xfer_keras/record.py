"""Recording of plain Keras code on TensorFlow: `fit`, or a loop with a GradientTape.

A step of `fit` is one call of the model's own compiled function, which is given the very batch and left as it is: what
it computes inside is computed a second time on the state before it, and the state after it is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from xfer.errors import UsageError
from xfer.traces.record import Recorder, raw_arrays
from xfer.traces.trace import Group, Layer, StepNotes, TraceNotes
from xfer_keras.record_callback import RecorderCallback
from xfer_keras.record_pass import Replay, array

_SETTINGS = (
    "momentum", "nesterov", "beta_1", "beta_2", "epsilon", "amsgrad", "rho", "centered", "weight_decay", "clipnorm",
    "global_clipnorm", "clipvalue", "use_ema", "gradient_accumulation_steps",
)  # fmt: skip


class KerasRecorder(Recorder):
    """Records a `keras.Model`."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer | None) -> None:
        if (engine := keras.backend.backend()) != "tensorflow":
            raise UsageError(f"Keras runs on {engine}: start the process with KERAS_BACKEND=tensorflow to record it")
        if tf.distribute.has_strategy():
            raise UsageError("a tf.distribute strategy is in use: record on one device, without it")
        if not model.built:
            raise UsageError(f"{model.name} is not built: call model.build(...) or the model on a batch before")
        if len(inputs := getattr(model, "inputs", None) or []) > 1:
            raise UsageError(f"{model.name} has {len(inputs)} inputs: record a network that takes images alone")
        if not isinstance(optimizer, keras.optimizers.Optimizer | None):
            kind = type(optimizer).__name__
            raise UsageError(f"optimizer is a {kind}: give the keras.optimizers.Optimizer of the loop")
        self.model, self._optimizer = model, optimizer
        self.layers: list[Layer] = []
        self.gradients: dict[str, Any] = {}
        self.in_fit, self.rate, self.count = False, 0.0, 0
        self.patched: Any = None
        self.active = False
        self.replay, self.compiled = Replay(self), None

    @property
    def callback(self) -> keras.callbacks.Callback:
        """Records without a `with` block: `fit(..., callbacks=[recorder.callback])`.

        A trace is then complete when its steps are there or `fit` ends, but not after an error in it.
        """
        return RecorderCallback(self)

    @property
    def optimizer(self) -> Any:
        """The one that was given, or that of `compile`."""
        return self._optimizer if self._optimizer is not None else getattr(self.model, "optimizer", None)

    def __enter__(self) -> Self:
        self.names = _names(self.model)
        self.kept = {key: tf.Variable(tf.zeros_like(v.value)) for key, v in self._trainable().items()}
        self.had = {key: tf.Variable(False) for key in self.kept}
        self._make = self.model.make_train_function
        object.__setattr__(self.model, "make_train_function", self._make_train_function)
        self._watch_optimizer()
        self._begin()
        self.active = True
        return self

    def __exit__(self, *error: Any) -> None:
        self.active = False
        object.__delattr__(self.model, "make_train_function")
        function = self.model.train_function
        if isinstance(function, _SeenFunction):
            self.model.train_function = function.original
        if self.patched is not None:
            object.__delattr__(self.patched, "apply")
        self.close()

    def _trainable(self) -> dict[str, Any]:
        return {self.names[id(v)]: v for v in self.model.trainable_variables}

    def _watch_optimizer(self) -> None:
        """See the gradients that the optimizer gets."""
        optimizer = self.optimizer
        if optimizer is None or self.patched is optimizer:
            return
        apply, self.patched = optimizer.apply, optimizer

        def seen(grads: Any, trainable_variables: Any = None) -> Any:
            if not self.complete and not self.in_fit:
                variables = optimizer._trainable_variables if trainable_variables is None else trainable_variables
                variables = list(variables)
                self._keep_gradients(grads, variables)
                return apply(grads, variables)
            return apply(grads, trainable_variables)

        object.__setattr__(optimizer, "apply", seen)

    def _keep_gradients(self, grads: Any, variables: Sequence[Any]) -> None:
        for gradient, variable in zip(grads, variables, strict=True):
            name = self.names.get(id(variable))
            if name is None or gradient is None or name not in self.kept:
                continue
            gradient = tf.convert_to_tensor(gradient)
            if tf.executing_eagerly():
                self.gradients[name] = gradient
            else:  # in the user's tf.function: read from variables after it
                self.kept[name].assign(tf.cast(gradient, self.kept[name].dtype))
                self.had[name].assign(True)

    # -- fit

    def _make_train_function(self, force: bool = False) -> None:
        self._make(force)
        function = self.model.train_function
        if not isinstance(function, _SeenFunction):
            if self.model.steps_per_execution != 1 and not self.complete:
                raise UsageError("steps_per_execution is not 1: record with compile(..., steps_per_execution=1)")
            self.model.train_function = _SeenFunction(function, self)
            self.compiled = None  # what it computes may be another: a loss, what is trained

    def fit_step(self, function: Callable[[Any], Any], iterator: Any) -> Any:
        """One call of the compiled function, seen from outside."""
        if not isinstance(iterator, tf.data.Iterator):
            data = next(iterator)
            same: Any = iter([data])
        else:
            data, spec = next(iterator), iterator.element_spec
            options = tf.data.Options()
            options.autotune.enabled = False  # a pipeline with it takes seconds to be deleted
            same = iter(tf.data.Dataset.from_tensors(data).map(partial(_as_general, spec)).with_options(options))
        self._begin()
        self.in_fit = True
        try:
            logs = function(same)
        finally:
            self.in_fit = False
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        arrays = {} if weights is None else {"batch/weights": array(weights)}
        own = type(self.model).train_step.__module__.startswith("keras.")
        self._finish(x, y, None, [], arrays, (y, weights) if own else None)
        return logs

    # -- a loop of the user

    def step(
        self, images: Any = None, labels: Any = None, loss: Any = None, weights: Any = None, raw: Sequence[Any] = ()
    ) -> None:
        if self.complete:
            return
        if images is None:
            raise UsageError("images are not given: recorder.step(images, labels, loss) needs the batch")
        files, arrays = raw_arrays(raw, 0 if self.written else self.samples)
        arrays |= {} if weights is None else {"batch/weights": array(weights)}
        for name, there in self.had.items():
            if bool(there.numpy()):
                self.gradients[name] = self.kept[name].value()
                there.assign(False)
        value = None if loss is None else float(np.asarray(loss))
        self._finish(images, labels, value, files, arrays, None)
        self._begin()

    # -- state

    def _variables(self) -> list[Any]:
        """All state: weights, states of random numbers, metrics, the optimizer."""
        optimizer = self.optimizer
        every = [
            *self.model.variables,
            *self.model.metrics_variables,
            *(() if optimizer is None else optimizer.variables),
        ]
        return list({id(v): v for v in every}.values())

    def _state(self) -> dict[str, np.ndarray]:
        """Copies of weights, statistics and slots by name."""
        found = {self.names[id(v)]: array(v) for v in self.model.weights if id(v) in self.names}
        optimizer = self.optimizer
        trained = getattr(optimizer, "_trainable_variables", None) or []
        for attribute, value in vars(optimizer).items() if optimizer is not None else ():
            if isinstance(value, list) and len(value) == len(trained) and "trainable" not in attribute:
                for variable, slot in zip(trained, value, strict=True):
                    if isinstance(slot, keras.Variable) and slot is not variable and id(variable) in self.names:
                        found[f"{attribute.strip('_')}@{self.names[id(variable)]}"] = array(slot)
        return found

    def _begin(self) -> None:
        """A step begins: everything as it is now."""
        if self.complete:
            return
        self._watch_optimizer()
        optimizer = self.optimizer
        # Tensors are values: TensorFlow copies what they share with a variable before it changes the variable.
        self.start = {id(v): tf.convert_to_tensor(v.value) for v in self._variables()}
        if not self.written:
            self.before = self._state()
        if optimizer is not None:
            self.rate, self.count = float(array(optimizer.learning_rate)), int(array(optimizer.iterations))

    def _finish(
        self, x: Any, y: Any, loss: float | None, files: list[str], arrays: dict[str, np.ndarray],
        of_fit: tuple[Any, Any] | None,
    ) -> None:  # fmt: skip
        after = self._state()
        arrays |= {f"gradient/{name}": array(gradient) for name, gradient in self.gradients.items()}
        arrays |= (
            {"batch/images": array(_only(x))}
            | ({} if y is None else {"batch/labels": array(y)})
            | self._replay(x, of_fit)
        )
        if of_fit is not None:
            loss = float(arrays.pop("loss"))
        self.gradients = {}
        rates = [] if self.optimizer is None else [self.rate]
        source = "run" if of_fit is None else "replay"
        notes = StepNotes(loss, rates, self.count, self.replay.training, raw=files, gradients=source)
        if not self.layers:
            self.layers = self.replay.layers
        self.keep(notes, arrays, after)

    def _replay(self, x: Any, of_fit: tuple[Any, Any] | None) -> dict[str, np.ndarray]:
        """The pass once more on the state before the step; then the state after it again.

        Args:
            x: the batch.
            of_fit: labels and weights of its samples, where loss and gradients are to be those of `compile`.
        """
        variables = self._variables()
        now = [tf.convert_to_tensor(v.value) for v in variables]
        try:
            for v in variables:
                if id(v) in self.start:
                    v.assign(self.start[id(v)])
            found = self.replay.run(x, None, {}) if of_fit is None else self._pass_of_fit(x, *of_fit)
            return {key: array(found[key]) for key in found if not (self.written and key.startswith(("out/", "in/")))}
        finally:
            for v, each in zip(variables, now, strict=True):
                v.assign(each)

    def _pass_of_fit(self, x: Any, y: Any, weights: Any) -> dict[str, Any]:
        """A pass with loss and gradients, compiled unless `compile(run_eagerly=True)`."""

        def run(x: Any, y: Any, weights: Any) -> dict[str, Any]:
            def loss_of(output: Any) -> Any:
                return self.model._compute_loss(x=x, y=y, y_pred=output, sample_weight=weights, training=True)

            return self.replay.run(x, loss_of, self._trainable())

        if self.model.run_eagerly:
            return run(x, y, weights)
        if self.compiled is None:
            self.compiled = tf.function(run, autograph=False)
        found: dict[str, Any] = self.compiled(x, y, weights)
        return found

    def describe(self) -> TraceNotes:
        optimizer, groups = self.optimizer, []
        if optimizer is not None:
            settings = {key: _number(getattr(optimizer, key)) for key in _SETTINGS if hasattr(optimizer, key)}
            excluded = [
                self.names[id(v)]
                for v in self.model.trainable_variables
                if optimizer.built and optimizer.weight_decay and not optimizer._use_weight_decay(v)
            ]
            groups = [Group(list(self._trainable()), settings | {"no_decay": excluded})]
        variable = next(iter(self.model.trainable_variables), None)
        dtype = "float32" if variable is None else keras.backend.standardize_dtype(variable.dtype)
        half = "16" in str(self.model.compute_dtype)
        return TraceNotes(
            framework="keras",
            versions={"keras": keras.__version__, "tensorflow": tf.__version__},
            channels="last" if keras.config.image_data_format() == "channels_last" else "first",
            roundoff=2.0**-8 if half else float(np.finfo(dtype).eps) / 2,
            layers=self.layers,
            trainable=list(self._trainable()),
            optimizer="" if optimizer is None else type(optimizer).__name__,
            groups=groups,
            loss=_loss(self.model),
            classes=list(self.classes),
            samples=self.samples,
            steps=[],
        )


class _SeenFunction:
    """The compiled function of `fit`, with the recorder before it until all steps are there."""

    def __init__(self, original: Callable[[Any], Any], recorder: KerasRecorder) -> None:
        self.original, self.recorder = original, recorder

    def __call__(self, iterator: Any) -> Any:
        if self.recorder.complete:
            return self.original(iterator)
        return self.recorder.fit_step(self.original, iterator)


def _as_general(spec: Any, *data: Any) -> Any:
    """The batch, with the shapes that `fit` has traced its function for."""
    known = zip(tf.nest.flatten(data), tf.nest.flatten(spec), strict=True)
    general = [
        tf.raw_ops.PlaceholderWithDefault(input=x, shape=like.shape) if isinstance(like, tf.TensorSpec) else x
        for x, like in known
    ]
    return tf.nest.pack_sequence_as(spec, general)


def _only(images: Any) -> Any:
    """The images of a batch, which may be in a list or a dictionary.

    Raises:
        UsageError: there is something beside them.
    """
    found = tf.nest.flatten(images)
    if len(found) > 1:
        raise UsageError(f"a batch has {len(found)} inputs: record a network that takes images alone")
    return found[0]


def _names(model: keras.Model) -> dict[int, str]:
    """Names of a model's weights: their paths, counted where two are the same."""
    found: dict[int, str] = {}
    for variable in model.weights:
        name, count = variable.path, 2
        while name in found.values():
            name, count = f"{variable.path}#{count}", count + 1
        found[id(variable)] = name
    return found


def _number(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else float(array(value))


def _loss(model: keras.Model) -> dict[str, Any]:
    """Class and options of the loss of `compile`, where it is one of Keras's."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, str):
        return {"class": loss}
    if not isinstance(loss, keras.losses.Loss):
        return {}
    config = loss.get_config()
    return {"class": type(loss).__name__} | {k: v for k, v in config.items() if isinstance(v, bool | int | float | str)}
