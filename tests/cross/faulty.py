"""Backends with one wrong constant each, for a certificate to catch; the workers import them by `module:Class`."""

from dataclasses import replace

import numpy as np

from xfer.testing import NumpyBackend
from xfer.testing.numpy_backend import optimizer
from xfer.testing.numpy_backend.model import NumpyModel

RIGHT = optimizer.update


class WrongEps(NumpyBackend):
    """Batch norm with Keras's default epsilon."""

    def build(self, spec):
        return super().build(replace(spec, card=replace(spec.card, norm_eps=1e-3)))


class WrongMomentum(NumpyBackend):
    """Batch norm with Keras's momentum taken for torch's."""

    def build(self, spec):
        return super().build(replace(spec, card=replace(spec.card, norm_momentum=0.01)))


class BiasedVariance(NumpyBackend):
    """Running variance without Bessel's correction, as Keras keeps it."""

    def build(self, spec):
        model = super().build(spec)
        for layer in (model.layers()["bn1"], model.layers()["layer1.bn"]):
            follow = layer._follow
            layer._follow = lambda name, batch, layer=layer, follow=follow: follow(
                name, batch if name == "running_mean" else batch * (1 - 1 / layer.count)
            )
            forward = layer.forward

            def counted(x, training, layer=layer, forward=forward):
                layer.count = x.size // x.shape[-1]
                return forward(x, training)

            layer.forward = counted
        return model


class WrongPadding(NumpyBackend):
    """Keras's "same" at stride 2: all of the padding at the bottom and right."""

    def build(self, spec):
        model = super().build(spec)
        conv = model.layers()["layer1.conv"]
        forward = conv.forward
        conv.forward = lambda x, training: forward(np.roll(x, (-1, -1), (1, 2)), training)
        return model


class WrongMean(NumpyBackend):
    """Images normalised by another mean."""

    def build(self, spec):
        return NumpyModel(self, replace(spec, preprocessing=replace(spec.preprocessing, mean=(0.5, 0.456, 0.406))))


class _WithRule(NumpyBackend):
    """A backend whose update rule is `rule(update, weight, gradient, slots, step, rate, start)`."""

    def stepper(self, model, update):
        optimizer.update = type(self).rule
        return super().stepper(model, update)


class EpsilonInside(_WithRule):
    """Adam with epsilon inside the bias correction, as Keras has it."""

    @staticmethod
    def rule(update, weight, gradient, slots, step, rate, start):
        spec = update.optimizer
        if spec.name != "sgd":
            spec = replace(spec, eps=spec.eps / np.sqrt(1 - spec.betas[1] ** step))
        return RIGHT(replace(update, optimizer=spec), weight, gradient, slots, step, rate, start)


class NoBiasCorrection(_WithRule):
    """Adam that starts as if it had run for long."""

    @staticmethod
    def rule(update, weight, gradient, slots, step, rate, start):
        return RIGHT(update, weight, gradient, slots, 10**6, rate, start)


class CoupledDecay(_WithRule):
    """AdamW that decays like Adam."""

    @staticmethod
    def rule(update, weight, gradient, slots, step, rate, start):
        if update.optimizer.name == "adamw":
            update = replace(update, optimizer=replace(update.optimizer, name="adam"))
        return RIGHT(update, weight, gradient, slots, step, rate, start)


class RateInVelocity(_WithRule):
    """SGD that folds the rate into the velocity, as Keras does."""

    @staticmethod
    def rule(update, weight, gradient, slots, step, rate, start):
        spec = update.optimizer
        if spec.name != "sgd" or spec.nesterov:
            return RIGHT(update, weight, gradient, slots, step, rate, start)
        velocity = slots["momentum_buffer"]
        velocity *= spec.momentum
        velocity += rate * (gradient + spec.decay * weight)
        return weight - velocity
