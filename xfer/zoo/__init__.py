"""The zoo: one card an architecture."""

from xfer.errors import UnknownNameError
from xfer.zoo import efficientnet_lite, resnet, tiny, vgg
from xfer.zoo.card import Card, imagenet_classes

__all__ = ["Card", "card", "cards", "imagenet_classes"]

_CARDS = {card.name: card for card in (*resnet.CARDS, *vgg.CARDS, *efficientnet_lite.CARDS, *tiny.CARDS)}


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
