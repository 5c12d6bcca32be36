"""Weights that Keras saved by layer: of keras.applications, or of a network of the zoo on the Keras backend."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xfer.errors import WeightsError, XferError
from xfer.zoo import keras_card
from xfer.zoo.card import Card
from xfer.zoo.keras_applications import layers_of, torch_layout


def card_of_layers(card: Card, arrays: Mapping[str, np.ndarray]) -> tuple[Card, dict[str, np.ndarray]]:
    """The card of the network that was saved, and its tensors by canonical name.

    The layers of the zoo's own Keras networks have canonical names; all others are taken for keras.applications'.

    Args:
        card: the architecture that is wanted.
        arrays: as `xfer.weights.read_h5` gives them.

    Raises:
        WeightsError: layers that are no convolutions, dense layers or normalisations.
        UnknownNameError: keras.applications has no such network.
    """
    layers = layers_of(arrays)
    try:
        if sum(card.place_of(layer) is not None for layer in layers) * 2 < len(layers):
            card = keras_card(card.name)
            return card, card.canonical(arrays)
        own = [torch_layout(layer, weights) for layer, weights in layers.items()]
        return card, {name: array for tensors in own for name, array in tensors.items()}
    except ValueError as error:
        if isinstance(error, XferError):
            raise
        raise WeightsError(
            f"a layer of the file is no convolution, dense layer or normalisation ({error}): such networks are read "
            "from a run, which model.save() writes"
        ) from None
