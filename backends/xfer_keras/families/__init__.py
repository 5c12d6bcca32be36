"""One file a family: the network as a generator of its stages in forward order.

A family's function takes the normalised input and a card, and yields `(stage, tensor)`: the card's blocks, then
"features", the head's input (N, D). Layers carry the canonical names.
"""

from collections.abc import Callable, Iterator
from typing import Any

from xfer.zoo import Card
from xfer_keras.families.alexnet import alexnet
from xfer_keras.families.densenet import densenet
from xfer_keras.families.efficientnet_lite import efficientnet_lite
from xfer_keras.families.mnasnet import mnasnet
from xfer_keras.families.mobilenet_v2 import mobilenet_v2
from xfer_keras.families.resnet import resnet
from xfer_keras.families.tiny import tiny
from xfer_keras.families.vgg import vgg

Family = Callable[[Any, Card], Iterator[tuple[str, Any]]]

FAMILIES: dict[str, Family] = {
    "resnet": resnet,
    "vgg": vgg,
    "efficientnet_lite": efficientnet_lite,
    "alexnet": alexnet,
    "densenet": densenet,
    "mobilenet_v2": mobilenet_v2,
    "mnasnet": mnasnet,
    "tiny": tiny,
}
