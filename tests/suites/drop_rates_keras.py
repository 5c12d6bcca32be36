"""Rates of the Keras nets for `DropRatesOfNetworks`, on any engine: tests/keras and tests/jax subclass it."""

from keras.layers import Dropout

from tests.suites.drop_rates import DropRatesOfNetworks


class DropRatesOfKerasNetworks(DropRatesOfNetworks):
    """Set `backend`."""

    def rates(self, model):
        layers = [layer for layer in model.native.layers if isinstance(layer, Dropout)]
        path = [layer.rate for layer in layers if layer.name.endswith(".stochastic_depth")]
        return path, [layer.rate for layer in layers if not layer.name.endswith(".stochastic_depth")]
