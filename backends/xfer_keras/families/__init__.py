"""One file a family: the network as a generator of its stages in forward order.

A family's function takes the normalised input and a card, and yields `(stage, tensor)`: the card's blocks, then
"features", the head's input (N, D). Layers carry the canonical names.
"""

from collections.abc import Callable, Iterator
from typing import Any

from xfer.zoo import Card
from xfer_keras.families.alexnet import alexnet
from xfer_keras.families.convnext import convnext
from xfer_keras.families.densenet import densenet
from xfer_keras.families.efficientnet import efficientnet
from xfer_keras.families.efficientnet_lite import efficientnet_lite
from xfer_keras.families.googlenet import googlenet
from xfer_keras.families.inception import inception
from xfer_keras.families.maxvit import maxvit
from xfer_keras.families.mnasnet import mnasnet
from xfer_keras.families.mobilenet_v1 import mobilenet_v1
from xfer_keras.families.mobilenet_v2 import mobilenet_v2
from xfer_keras.families.mobilenet_v3 import mobilenet_v3
from xfer_keras.families.regnet import regnet
from xfer_keras.families.resnet import resnet
from xfer_keras.families.shufflenet_v2 import shufflenet_v2
from xfer_keras.families.squeezenet import squeezenet
from xfer_keras.families.swin import swin
from xfer_keras.families.tiny import tiny
from xfer_keras.families.vgg import vgg
from xfer_keras.families.vit import vit

Family = Callable[[Any, Card], Iterator[tuple[str, Any]]]

FAMILIES: dict[str, Family] = {
    "alexnet": alexnet,
    "vgg": vgg,
    "googlenet": googlenet,
    "inception": inception,
    "resnet": resnet,
    "squeezenet": squeezenet,
    "densenet": densenet,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
    "mnasnet": mnasnet,
    "shufflenet_v2": shufflenet_v2,
    "efficientnet": efficientnet,
    "efficientnet_lite": efficientnet_lite,
    "regnet": regnet,
    "convnext": convnext,
    "vit": vit,
    "swin": swin,
    "maxvit": maxvit,
    "mobilenet_v1": mobilenet_v1,
    "tiny": tiny,
}
