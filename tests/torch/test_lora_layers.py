"""Adapters of torch's modules against the formula: the same module, called with W + (alpha / r) B A as its weights."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torchvision.models.swin_transformer import (
    PatchMergingV2,
    SwinTransformer,
    SwinTransformerBlockV2,
)
from torchvision.models.vision_transformer import VisionTransformer

from xfer.specs.lora import Lora, adapters_of
from xfer_torch.nets import lora as adapters

BOUND = 1e-12


class Mlp(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3 * 32 * 32, 6), nn.GELU(), nn.Linear(6, 4, bias=False))


def vit():
    return VisionTransformer(32, 16, 2, 2, 16, 24, num_classes=4)


def swin(version):
    options = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2} if version == 2 else {}
    return SwinTransformer([4, 4], 8, [2, 2], [2, 2], [2, 2], stochastic_depth_prob=0.0, num_classes=4, **options)


NETS = {"mlp": Mlp, "vit": vit, "swin": lambda: swin(1), "swin_v2": lambda: swin(2)}


def matrices(net):
    """All weights of linear layers and of attention."""
    return tuple(
        name
        for name, tensor in net.named_parameters()
        if tensor.ndim == 2 and name.endswith(("weight", "in_proj_weight")) and "cpb_mlp" not in name
    )


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients(name, training):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = NETS[name]().double().train(training)
        net, x = copy.deepcopy(plain), torch.randn(3, 3, 32, 32, dtype=torch.float64)
        nn.init.normal_(plain.get_parameter(matrices(plain)[-1]))  # torchvision's head of a ViT is zero
        net.load_state_dict(plain.state_dict())
        lora = Lora(2, 6.0, matrices(net))
        assert len(lora.weights) >= 2
        adapters.attach(net, lora)
        low = {n: nn.Parameter(torch.randn_like(net.get_parameter(n)) / 4) for n in lora.tensors}
    net.load_state_dict(plain.state_dict() | {n: p.detach() for n, p in low.items()})
    pairs = {weight: adapters_of(weight) for weight in lora.weights}
    updated = {w: plain.get_parameter(w).detach() + 3.0 * low[b] @ low[a] for w, (a, b) in pairs.items()}
    expected = functional_call(plain, updated, (x,))
    found = net(x)
    assert (found - plain(x)).abs().max() > 1e-3
    assert (found - expected).abs().max() <= BOUND * expected.abs().max()
    weights = torch.randn_like(found)
    for gradient, other in zip(
        torch.autograd.grad((found * weights).sum(), [net.get_parameter(n) for n in low]),
        torch.autograd.grad((expected * weights).sum(), list(low.values())),
        strict=True,
    ):
        assert (gradient - other).abs().max() <= BOUND * max(float(other.abs().max()), 1e-3)
    with torch.inference_mode():  # in which attention takes torch's fused path
        assert (net(x) - expected).abs().max() <= BOUND * expected.abs().max()


def test_modules_stay_the_same_objects():
    net = vit()
    before = dict(net.named_modules())
    kinds, names = {n: type(m) for n, m in before.items()}, list(net.state_dict())
    adapters.attach(net, Lora(2, 2.0, matrices(net)))
    assert all(dict(net.named_modules())[name] is module for name, module in before.items())
    assert len(net.state_dict()) == len(names) + 2 * len(matrices(net))
    adapters.detach(net)
    assert {name: type(module) for name, module in net.named_modules()} == kinds
    assert list(net.state_dict()) == names
