"""Options of fine-tuning against torch's and timm's own implementations."""

import pytest
import timm.optim

from tests.suites.tiny_timm import CARDS, VITS, timms
from xfer.specs.rates import decayed_rates
from xfer.zoo import card

DECAY = 0.7


@pytest.mark.parametrize("name", VITS)
def test_layer_decay_of_vision_transformers_is_timms(name):
    net, ours = timms(name), CARDS[name]
    rates = decayed_rates(1.0, ours.layer_depths, DECAY)
    groups = timm.optim.param_groups_layer_decay(net, weight_decay=0.0, layer_decay=DECAY)
    expected = {id(tensor): group["lr_scale"] for group in groups for tensor in group["params"]}
    found = {tensor_name: rates[ours.block_of(tensor_name)] for tensor_name, _ in net.named_parameters()}
    assert found == pytest.approx({n: expected[id(tensor)] for n, tensor in net.named_parameters()})
    assert len(set(found.values())) == ours.config["depth"] + 2


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        ("vit_b_16", {"stem": 13, "layer0": 12, "layer11": 1, "norm": 1, "head": 0}),
        ("swin_t", {"stem": 5, "stage1": 4, "stage4": 1, "norm": 1, "head": 0}),
        ("convnext_tiny", {"stem": 5, "stage4": 1, "norm": 0, "head": 0}),
        ("resnet18", {"stem": 5, "layer4": 1, "head": 0}),
    ],
)
def test_a_last_normalisation_is_no_layer(name, depths):
    found = card(name).layer_depths
    assert tuple(found) == card(name).block_names
    assert {block: found[block] for block in depths} == depths
