"""The torch backend against torch and torchvision themselves."""

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional

from xfer import LossSpec, OptimizerSpec, Schedule, load, zoo
from xfer.certify.worker import lively
from xfer.errors import DeviceError, NumbersError, UnknownNameError, UsageError
from xfer.features.gan import GanSpec, generated
from xfer.specs.inputs import Inputs
from xfer.specs.rates import block_rates
from xfer.specs.update import UpdateSpec
from xfer_torch.nets.families import FAMILIES

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])
SMALLEST = [min((c for c in zoo.cards() if c.family == f), key=lambda c: c.parameters).name for f in FAMILIES]
SLOW = ("alexnet", "vgg11", "maxvit_t")
QUICK = [pytest.param(name, marks=pytest.mark.long) if name in SLOW else name for name in SMALLEST]
# torchvision turns its usual normalisation into another inside these networks; the test below has it do so.
TRANSFORM_INPUT = {"googlenet", "inception_v3"}
TORCHVISION = [card for card in zoo.cards() if any(weights.url for weights in card.weights) and not card.convert]


@pytest.mark.parametrize("card", TORCHVISION, ids=lambda card: card.name)
def test_card_says_what_torchvision_says(card):
    entries = {w.name: w for w in torchvision.models.get_model_weights(card.name) if w.name != "IMAGENET1K_FEATURES"}
    assert card.weights[0].name == torchvision.models.get_model_weights(card.name).DEFAULT.name
    own = [weights for weights in card.weights if weights.url]
    assert card.weights[: len(own)] == tuple(own)
    assert {w.name for w in own} == set(entries)
    for ours in own:
        theirs, recipe = entries[ours.name], card.preprocessing_for(ours.name)
        transform = theirs.transforms()
        assert ours.url == theirs.url
        assert ours.digest in theirs.url
        assert ours.acc1 == theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        assert card.size_smallest in (1, theirs.meta["min_size"][0])
        if ours is card.weights[0]:
            assert card.parameters == theirs.meta["num_params"]
        assert (recipe.resize, recipe.size) == (transform.resize_size[0], transform.crop_size[0])
        if card.name not in TRANSFORM_INPUT:
            assert (list(recipe.mean), list(recipe.std)) == (list(transform.mean), list(transform.std))
        assert recipe.interpolation == transform.interpolation.value
        assert list(zoo.imagenet_classes()) == theirs.meta["categories"]


@pytest.mark.parametrize("name", QUICK)
def test_stages_are_the_native_network(name):
    card = zoo.card(name)
    size = max(card.size_multiple, 64 // card.size_multiple * card.size_multiple, card.size_smallest)
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    model = load(name, backend="torch", weights=None, classes=3, image_size=size, precision="fp64")
    model.set_weights(lively(model.weights(), seed=0))
    with torch.inference_mode():
        native = model.native(model.normalise(images)).numpy()
    np.testing.assert_allclose(model.logits(images), native.reshape(2, 3), rtol=1e-9)
    assert {model.card.block_of(tensor) for tensor in model.shapes()} == set(model.blocks)


@pytest.mark.parametrize("name", sorted(TRANSFORM_INPUT))
def test_preprocessing_is_torchvisions_with_its_transformed_input(name):
    model = load(name, backend="torch", weights=None, classes=3, image_size=299, precision="fp64")
    model.set_weights(lively(model.weights(), seed=0))
    theirs = torchvision.models.get_model(name, weights=None, num_classes=3, init_weights=False, transform_input=True)
    theirs.double().eval()
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in model.weights().items()}, strict=False)
    images = np.random.default_rng(0).integers(0, 256, (2, 299, 299, 3)).astype(np.uint8)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    pixels = torchvision.transforms.functional.normalize(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.inference_mode():
        np.testing.assert_allclose(model.logits(images), theirs(pixels).numpy(), rtol=1e-9)


def test_auxiliary_losses_are_torchvisions():
    """Loss of the head and weighted losses of both auxiliary classifiers, as GoogLeNet's own forward gives them."""
    model = load("googlenet", backend="torch", weights=None, classes=3, image_size=64, precision="fp64", dropout=False)
    stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec("sgd"), LossSpec()))
    images = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3)).astype(np.uint8)
    twin = torchvision.models.googlenet(num_classes=3, aux_logits=True, init_weights=False, dropout=0, dropout_aux=0)
    twin.double().train()
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in model.weights().items()}, strict=False)
    logits, second, first = twin(model.normalise(images))
    labels = torch.from_numpy(LABELS)
    loss = sum(w * functional.cross_entropy(x, labels) for w, x in ((1.0, logits), (0.3, second), (0.3, first)))
    loss.backward()
    gradients = stepper.gradients(images, LABELS)
    for name, parameter in twin.named_parameters():
        np.testing.assert_allclose(gradients[name], parameter.grad, rtol=1e-7, atol=1e-9, err_msg=name)
    assert np.abs(gradients["aux1.fc2.weight"]).max() > 0
    model.freeze()
    assert [weight for weight, _ in model.forward(Inputs(images))] == [1.0]


@pytest.mark.parametrize("name", ["efficientnet_b0", pytest.param("vgg11_bn", marks=pytest.mark.long)])
def test_dropout_can_be_left_out(name):
    losses = {}
    for dropout in (True, False):
        model = load(name, backend="torch", weights=None, classes=3, image_size=32, dropout=dropout)
        stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec("sgd"), LossSpec()))
        rates = dict.fromkeys(model.blocks, 0.0)
        losses[dropout] = [float(stepper.step(IMAGES, LABELS, rates, seed=seed)) for seed in (0, 1)]
    assert losses[True][0] != losses[True][1]
    assert losses[False][0] == losses[False][1]


@pytest.mark.parametrize("name", QUICK)
def test_smallest_size_works(name):
    card = zoo.card(name)
    size = max(8, card.size_smallest, card.size_multiple)
    model = load(name, backend="torch", weights=None, classes=3, image_size=size)
    assert np.isfinite(model.logits(np.zeros((2, size, size, 3), np.uint8))).all()


def test_sizes_that_an_architecture_cannot_take_are_refused():
    with pytest.raises(UsageError, match="multiple of 32, not 100: give 96"):
        load("vit_b_32", backend="torch", weights=None, classes=3, image_size=100)
    with pytest.raises(UsageError, match="at least 75 pixels, not 64"):
        load("inception_v3", backend="torch", weights=None, classes=3, image_size=64)


def test_tensors_are_torchvisions_state_dict():
    model = load("resnet18", backend="torch", weights=None, classes=3, image_size=32, precision="fp32")
    theirs = torchvision.models.resnet18(num_classes=3)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in model.weights().items()})
    theirs.eval()
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255
    pixels = torchvision.transforms.functional.normalize(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.inference_mode():
        np.testing.assert_allclose(model.logits(IMAGES), theirs(pixels).numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "spec",
    [
        OptimizerSpec("sgd", momentum=0.9, weight_decay=1e-2),
        OptimizerSpec("sgd", momentum=0.9, nesterov=True),
        OptimizerSpec("adam", weight_decay=1e-2),
        OptimizerSpec("adamw"),
    ],
    ids=lambda spec: f"{spec.name}-{spec.nesterov}",
)
def test_steps_are_a_plain_torch_loop(spec):
    """Three updates with per-block rates, class weights, smoothing and clipping, against a loop written by hand."""
    weights = (1.0, 2.0, 0.5)
    model = load("tiny", backend="torch", weights=None, classes=3, image_size=32, precision="fp64")
    twin = load("tiny", backend="torch", weights=None, classes=3, image_size=32, precision="fp64")
    rates = block_rates({"head": 1e-2, "layer1": 1e-3}, model.blocks)
    stepper = model.backend.stepper(model, UpdateSpec(spec, LossSpec(0.1, weights), 0.5))

    net = twin.native.train()
    groups = [{"params": list(net.fc.parameters()), "lr": 1e-2}]
    groups += [{"params": [p for n, p in net.named_parameters() if not n.startswith("fc")], "lr": 1e-3}]
    if spec.name == "sgd":
        rule = torch.optim.SGD(groups, momentum=0.9, nesterov=spec.nesterov, weight_decay=spec.decay)
    else:
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.name]
        rule = kind(groups, weight_decay=spec.decay)
    for _ in range(3):
        loss = functional.cross_entropy(
            net(twin.normalise(IMAGES)),
            torch.from_numpy(LABELS),
            torch.tensor(weights, dtype=torch.float64),
            label_smoothing=0.1,
        )
        rule.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        rule.step()
        assert float(stepper.step(IMAGES, LABELS, rates)) == pytest.approx(loss.item(), rel=1e-12)
    for name, array in model.weights().items():
        np.testing.assert_allclose(array, net.state_dict()[name].numpy(), rtol=1e-10, atol=1e-14, err_msg=name)


def test_graph_begins_at_the_first_trainable_stage():
    model = load("resnet18", backend="torch", weights=None, classes=3, image_size=32)
    model.freeze()
    seen = []
    model.stages["layer4"].register_forward_hook(lambda module, args, out: seen.append(out.requires_grad))
    model.stages["head"].register_forward_hook(lambda module, args, out: seen.append(out.requires_grad))
    model.forward(Inputs(IMAGES))
    assert seen == [False, True]


def test_global_random_state_is_left_alone():
    model = load("tiny", backend="torch", weights=None, classes=3, image_size=32)
    stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec(), LossSpec()))
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    stepper.step(IMAGES, LABELS, block_rates(1e-3, model.blocks), seed=3)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Schedule("cosine"), lambda rule: torch.optim.lr_scheduler.CosineAnnealingLR(rule, 40)),
        (Schedule("onecycle"), lambda rule: torch.optim.lr_scheduler.OneCycleLR(rule, 1.0, total_steps=40)),
        (Schedule("step", milestones=(0.25, 0.5)), lambda r: torch.optim.lr_scheduler.MultiStepLR(r, [10, 20])),
    ],
    ids=["cosine", "onecycle", "step"],
)
def test_schedules_are_torchs(ours, theirs):
    rule = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = theirs(rule)
    for step in range(40):
        assert ours.factor(step, 40) == pytest.approx(rule.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        rule.step()
        scheduler.step()


def test_errors_are_one_line_with_a_way_out():
    with pytest.raises(DeviceError, match=r"device 'cuda:7' is not here: available are .*cpu"):
        load("tiny", backend="torch", weights=None, device="cuda:7")
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        load("tiny", backend="torch", weights=None, device="tpu")
    with pytest.raises(UnknownNameError, match="did you mean 'resnet"):
        load("resnet5O", backend="torch")
    with pytest.raises(UnknownNameError, match="did you mean 'torch'"):
        load("tiny", backend="torhc")
    model = load("tiny", backend="torch", weights=None)
    with pytest.raises(UnknownNameError, match="did you mean 'layer1"):
        model.freeze("layer9")
    with pytest.raises(UsageError, match=r"images are float64 \(1, 32, 32, 3\): expected uint8"):
        model.logits(np.zeros((1, 32, 32, 3)))


@pytest.mark.parametrize("rate", [1e-3, 1e200])
def test_a_gan_makes_numbers_or_says_that_it_cannot(rate):
    features, labels = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 2
    spec = GanSpec(noise=2, hidden=4, updates=5, precision="fp64", rate=rate)
    if rate < 1:
        assert np.isfinite(generated(features, labels, np.ones(6, np.int64), spec, 0, "torch")).all()
    else:
        with pytest.raises(NumbersError, match="not finite in update"):
            generated(features, labels, np.ones(6, np.int64), spec, 0, "torch")
