"""Options of fine-tuning against torch's and timm's own implementations."""

import numpy as np
import pytest
import timm.optim
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.ops import StochasticDepth

import xfer
from tests.suites import drop_rates
from tests.suites.tiny_timm import CARDS, timms
from xfer.models.drop_rates import DropRates
from xfer.specs.rates import decayed_rates
from xfer.specs.update import UpdateSpec
from xfer.zoo import card

DECAY = 0.7
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
LABELS = np.arange(8) % 3


def tiny():
    return xfer.load("tiny", backend="torch", weights=None, classes=3, image_size=16, precision="fp64")


@pytest.mark.parametrize("name", [name for name, each in CARDS.items() if each.family in ("timm_vit", "eva02")])
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


RULES = {
    "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9, weight_decay=0.02),
    "adam": lambda groups: torch.optim.Adam(groups, weight_decay=0.02),
    "adamw": lambda groups: torch.optim.AdamW(groups, weight_decay=0.02),
}


@settings(max_examples=5, deadline=None)
@given(
    st.sampled_from(list(RULES)),
    st.floats(1e-3, 1.0),
    st.floats(1e-3, 0.05),
    st.floats(0.3, 1.0),
    st.sampled_from([None, 0.1]),
    st.sampled_from([(), ("stem",), ("layer1.bn",)]),
)
def test_updates_are_those_of_torchs_groups_over_displacements(rule, l2_sp, rate, decay, clip, frozen):
    """L2-SP is the weight decay of w - w0, layer decay a group's rate: torch's optimizer on w - w0, by hand."""
    model, other = tiny(), tiny()
    for each in (model, other):
        if frozen:
            each.freeze(*frozen)
    spec = xfer.OptimizerSpec(rule, weight_decay=0.02)
    stepper = model.backend.stepper(model, UpdateSpec(spec, xfer.LossSpec(), clip, l2_sp))
    reader = other.backend.stepper(other, UpdateSpec(spec, xfer.LossSpec()))
    depths = {"stem": 2, "layer1": 1, "head": 0}
    rates = decayed_rates(rate, model.card.layer_depths, decay)
    start = {name: torch.from_numpy(array) for name, array in other.read(other.trainable).items()}
    start |= {name: torch.zeros_like(tensor) for name, tensor in start.items() if name.startswith("fc.")}
    moved = {name: torch.from_numpy(array) - start[name] for name, array in other.read(other.trainable).items()}
    groups = []
    for name, tensor in moved.items():
        block = other.card.block_of(name)
        pull = 0.02 if block == "head" else l2_sp
        groups.append({"params": [tensor], "lr": rate * decay ** depths[block], "weight_decay": pull})
    native = RULES[rule](groups)
    for seed in range(3):
        images = np.roll(IMAGES, seed, axis=1)
        for name, array in reader.gradients(images, LABELS).items():
            moved[name].grad = torch.from_numpy(array)
        if clip:
            torch.nn.utils.clip_grad_norm_(moved.values(), clip)
        native.step()
        other.write({name: (start[name] + tensor).numpy() for name, tensor in moved.items()})
        stepper.step(images, LABELS, rates)
    for name, array in other.read(other.trainable).items():
        np.testing.assert_allclose(model.read([name])[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


class Averaging(xfer.callbacks.Callback):
    """torch's own average of the network."""

    def on_fit_begin(self, trainer, epochs):
        self.model = AveragedModel(trainer.model.native, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)

    def on_step_end(self, trainer, step, loss):
        self.model.update_parameters(trainer.model.native)


def test_the_moving_average_is_torchs():
    """Bit by bit, running statistics included."""
    model, average = tiny(), Averaging()
    data = xfer.data.arrays(IMAGES, LABELS, IMAGES, LABELS, classes=model.classes)
    options = {"ema": 0.9, "restore_best": False, "callbacks": [average], "batch_size": 4, "lr": 0.01}
    xfer.Trainer(model, progress=False, **options).fit(data, 3)
    state = average.model.module.state_dict()
    for name, array in model.weights().items():
        assert array.tobytes() == state[name].numpy().tobytes(), name


class TestDropRates(drop_rates.DropRatesOfNetworks):
    backend = "torch"

    def rates(self, model):
        modules = list(model.native.modules())
        path = [module.p for module in modules if isinstance(module, StochasticDepth)]
        return path, [module.p for module in modules if isinstance(module, nn.Dropout)]


@pytest.mark.parametrize("name", drop_rates.NAMES)
def test_vision_transformers_drop_as_timms(monkeypatch, name):
    """With the same seed the same is dropped: gradients are those of timm's network in training."""
    monkeypatch.setitem(xfer.zoo._CARDS, name, CARDS[name])
    dropout = drop_rates.dropout_of(name)
    net = timms(name, drop_path_rate=0.5, **({} if dropout is None else {"proj_drop_rate": dropout})).double().train()
    model = xfer.load(name, backend="torch", weights=None, classes=5, image_size=32, precision="fp64", device="cpu")
    model.set_weights({n: t.numpy() for n, t in net.state_dict().items() if n in model.shapes()})
    model.set_drop_rates(DropRates(0.5, dropout))
    stepper = model.backend.stepper(model, UpdateSpec())
    for seed in (3, 4):
        found = stepper.gradients(drop_rates.IMAGES, drop_rates.LABELS, seed)
        torch.manual_seed(seed)
        net.zero_grad()
        logits = net(model.normalise(drop_rates.IMAGES))
        nn.functional.cross_entropy(logits, torch.from_numpy(drop_rates.LABELS)).backward()
        for key, tensor in net.named_parameters():
            bound = 1e-12 if dropout is not None else 1e-7  # timm has its rotary tables in float32
            np.testing.assert_allclose(found[key], tensor.grad.numpy(), rtol=1e-7, atol=bound, err_msg=key)


@pytest.mark.parametrize("name", ["efficientnet_b0", "convnext_tiny"])
def test_stochastic_depth_grows_as_in_torchvisions_network(name):
    def rates(net):
        return [module.p for module in net.modules() if isinstance(module, StochasticDepth)]

    with torch.device("meta"):
        own, expected = (
            rates(torchvision.models.get_model(name, **more)) for more in ({}, {"stochastic_depth_prob": 0.37})
        )
    model = xfer.load(name, backend="torch", weights=None, classes=3, image_size=64, device="cpu")
    assert rates(model.native) == own
    model.set_drop_rates(DropRates(0.37))
    assert rates(model.native) == pytest.approx(expected)
    model.set_drop_rates(DropRates())
    assert rates(model.native) == own
