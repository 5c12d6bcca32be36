"""The zoo: one card an architecture."""

from xfer.errors import UnknownNameError
from xfer.zoo import (
    alexnet,
    convnext,
    convnext_v2,
    densenet,
    efficientnet,
    efficientnet_lite,
    eva02,
    googlenet,
    inception,
    keras_applications,
    maxvit,
    mnasnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    mobilenet_v4,
    regnet,
    resnet,
    resnet_d,
    shufflenet_v2,
    squeezenet,
    swin,
    tf_efficientnet,
    timm_vit,
    tiny,
    vgg,
    vit,
)
from xfer.zoo.card import Auxiliary, Card, imagenet_classes
from xfer.zoo.published import with_timms

__all__ = ["Auxiliary", "Card", "card", "cards", "imagenet_classes", "keras_card"]

_FAMILIES = (
    alexnet,
    vgg,
    googlenet,
    inception,
    resnet,
    resnet_d,
    squeezenet,
    densenet,
    mobilenet_v2,
    mobilenet_v3,
    mobilenet_v4,
    mnasnet,
    shufflenet_v2,
    efficientnet,
    efficientnet_lite,
    tf_efficientnet,
    regnet,
    convnext,
    convnext_v2,
    vit,
    timm_vit,
    eva02,
    swin,
    maxvit,
    keras_applications,
    mobilenet_v1,
    tiny,
)
_CARDS: dict[str, Card] = {card.name: with_timms(card) for family in _FAMILIES for card in family.CARDS}


def card(name: str) -> Card:
    """The card of an architecture by name.

    Raises:
        UnknownNameError: no such architecture; the message lists the nearest.
    """
    try:
        return _CARDS[name]
    except KeyError:
        raise UnknownNameError("model", name, _CARDS) from None


def keras_card(name: str) -> Card:
    """The card of keras.applications' network of that name: `resnet50` gives that of `keras_resnet50`.

    Raises:
        UnknownNameError: keras.applications has none that is known here.
    """
    known = {found.removeprefix("keras_"): card for found, card in _CARDS.items() if found.startswith("keras_")}
    try:
        return known[name.removeprefix("keras_")]
    except KeyError:
        raise UnknownNameError("network of keras.applications", name, known) from None


def cards() -> tuple[Card, ...]:
    """All cards, family by family."""
    return tuple(_CARDS.values())
