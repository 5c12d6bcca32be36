"""SqueezeNet, torchvision's own module."""

from __future__ import annotations

import torchvision
from torch import Tensor, nn

from xfer.zoo import Card
from xfer_torch.nets.layers import MeanPlace


def squeezenet(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Iandola et al. 2016 (arXiv:1602.07360); a stage begins with its max-pool, and the head reads every place."""
    net = torchvision.models.get_model(card.name, weights=None)
    # torchvision's classifier is dropout, a 1x1 convolution, ReLU, average; ours has the places in a row, which is why
    # the head can be any that reads features.
    net.classifier = nn.Sequential(Places(), nn.Linear(card.feature_dim, 1000), nn.ReLU(), MeanPlace())
    layers = list(net.features)
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    stages = [nn.Sequential(*layers[a:b]) for a, b in zip([0, *pools], [*pools, None], strict=True)]
    return net, {**dict(zip(card.blocks, stages, strict=True)), "features": net.classifier[0]}


class Places(nn.Module):
    """A map as a row of places."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, H * W, C)."""
        return x.flatten(2).transpose(1, 2)
