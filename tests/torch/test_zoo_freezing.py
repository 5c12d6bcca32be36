"""Every architecture of the zoo can be frozen: each tensor has a block, and plans by block, layer and glob agree."""

from types import SimpleNamespace

import pytest
import torch

from tests.suites.timm_table import SLOW
from xfer.models.freezer import Freezer
from xfer.zoo import cards
from xfer_torch.nets.families import FAMILIES


def smallest(card):
    least = max(64 if card.family not in ("inception", "googlenet", "alexnet") else 224, card.size_smallest)
    return card.at(-(-least // card.size_multiple) * card.size_multiple)


NAMES = [pytest.param(c.name, marks=pytest.mark.long if c.name in SLOW else ()) for c in cards()]


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    """The names and shapes of a network, without memory for its weights."""
    card = smallest(next(card for card in cards() if card.name == request.param))
    with torch.device("meta"):
        native, _ = FAMILIES[card.family](card)
    parameters = {name: p.numel() for name, p in native.named_parameters()}
    shapes = {name: tuple(t.shape) for name, t in native.state_dict().items() if not name.endswith("batches_tracked")}
    model = SimpleNamespace(card=card, blocks=card.block_names, parameters=parameters, trainable=frozenset(parameters))
    model.freezable, model.digests = tuple(parameters), {}
    model.shapes, model.read = (lambda: shapes), (lambda names: {})
    model.set_trainable = lambda names: setattr(model, "trainable", names)
    return model


def test_every_tensor_belongs_to_a_block_and_every_block_has_one(network):
    blocks = {name: network.card.block_of(name) for name in network.shapes()}
    with_weights = {block for block in network.blocks if any(b == block for b in blocks.values())}
    assert with_weights >= {network.blocks[0], "head"}
    order = [
        network.blocks.index(b)
        for n, b in blocks.items()
        if not any(n.startswith(a.name) for a in network.card.auxiliary)
    ]
    assert order[-1] == len(network.blocks) - 1


def test_plans_by_block_layer_and_number(network):
    freezer, head = Freezer(network), {n for n in network.parameters if network.card.block_of(n) == "head"}
    freezer.freeze()
    assert network.trainable == head
    report = freezer.report()
    assert report.trainable + report.frozen == sum(network.parameters.values())
    for last in range(len(network.blocks)):
        freezer.freeze()
        freezer.unfreeze(last=last)
        wanted = network.blocks[len(network.blocks) - 1 - last :]
        assert network.trainable == {n for n in network.parameters if network.card.block_of(n) in wanted}
    assert network.trainable == network.parameters.keys()
    for name in network.parameters:  # each layer by its own name
        layer = name.rsplit(".", 1)[0]
        freezer.unfreeze()
        freezer.freeze(layer)
        assert name not in network.trainable
        freezer.unfreeze(layer)
        assert network.trainable == network.parameters.keys()
        break
    freezer.freeze("*")
    assert not network.trainable
    freezer.unfreeze(layers=1)
    assert network.trainable
    freezer.unfreeze()
    freezer.freeze_norm()
    assert all(f"{n.rsplit('.', 1)[0]}.running_mean" not in network.shapes() or n in head for n in network.trainable)
