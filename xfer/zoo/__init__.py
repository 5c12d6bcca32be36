"""The zoo: one card an architecture."""

from xfer.errors import UnknownNameError
from xfer.zoo import (
    alexnet,
    convnext,
    densenet,
    efficientnet,
    efficientnet_lite,
    googlenet,
    inception,
    maxvit,
    mnasnet,
    mobilenet_v2,
    mobilenet_v3,
    regnet,
    resnet,
    shufflenet_v2,
    squeezenet,
    swin,
    tiny,
    vgg,
    vit,
)
from xfer.zoo.card import Auxiliary, Card, imagenet_classes

__all__ = ["Auxiliary", "Card", "card", "cards", "imagenet_classes"]

_FAMILIES = (
    alexnet,
    vgg,
    googlenet,
    inception,
    resnet,
    squeezenet,
    densenet,
    mobilenet_v2,
    mobilenet_v3,
    mnasnet,
    shufflenet_v2,
    efficientnet,
    efficientnet_lite,
    regnet,
    convnext,
    vit,
    swin,
    maxvit,
    tiny,
)
_CARDS: dict[str, Card] = {card.name: card for family in _FAMILIES for card in family.CARDS}


def card(name: str) -> Card:
    """The card of an architecture by name.

    Raises:
        UnknownNameError: no such architecture; the message lists the nearest.
    """
    try:
        return _CARDS[name]
    except KeyError:
        raise UnknownNameError("model", name, _CARDS) from None


def cards() -> tuple[Card, ...]:
    """All cards, family by family."""
    return tuple(_CARDS.values())
