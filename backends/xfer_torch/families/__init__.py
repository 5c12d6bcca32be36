"""One file a family: the native network, and its stages in forward order.

A family's function takes a card and gives `(native, stages)`. The stages are the card's blocks, then "features", which
gives the head's input (N, D); they share their modules with `native`, which is torchvision's own wherever it has one.
"""

from collections.abc import Callable

from torch import nn

from xfer.zoo import Card
from xfer_torch.families.alexnet import alexnet
from xfer_torch.families.convnext import convnext
from xfer_torch.families.densenet import densenet
from xfer_torch.families.efficientnet import efficientnet
from xfer_torch.families.efficientnet_lite import efficientnet_lite
from xfer_torch.families.googlenet import googlenet
from xfer_torch.families.inception import inception
from xfer_torch.families.maxvit import maxvit
from xfer_torch.families.mnasnet import mnasnet
from xfer_torch.families.mobilenet_v1 import mobilenet_v1
from xfer_torch.families.mobilenet_v2 import mobilenet_v2
from xfer_torch.families.mobilenet_v3 import mobilenet_v3
from xfer_torch.families.regnet import regnet
from xfer_torch.families.resnet import resnet
from xfer_torch.families.shufflenet_v2 import shufflenet_v2
from xfer_torch.families.squeezenet import squeezenet
from xfer_torch.families.swin import swin
from xfer_torch.families.tiny import tiny
from xfer_torch.families.vgg import vgg
from xfer_torch.families.vit import vit

Family = Callable[[Card], tuple[nn.Module, dict[str, nn.Module]]]

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
