"""Linear layers of frozen passes by oneDNN: the same features, wherever no gradient is needed, and nowhere else."""

import copy
import pickle

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torchvision.models import swin_transformer

import xfer
from xfer_torch import linear

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
LABELS = np.array([0, 1, 2])


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the weights that oneDNN's kernel was given."""
    found, kernel = [], linear._KERNEL
    assert kernel is not None
    monkeypatch.setattr(linear, "_KERNEL", lambda x, w, *others: found.append(tuple(w.shape)) or kernel(x, w, *others))
    return found


def vit():
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=3), "heads.head", 2 * 4


def swin(block=swin_transformer.SwinTransformerBlock, downsample=swin_transformer.PatchMerging):
    options = {"window_size": [4, 4], "num_classes": 3, "block": block, "downsample_layer": downsample}
    return torchvision.models.SwinTransformer([4, 4], 24, [2, 1], [2, 2], **options), "head", 3 * 4 + 1


def swin_v2():
    net, head, layers = swin(swin_transformer.SwinTransformerBlockV2, swin_transformer.PatchMergingV2)
    return net, head, layers + 2 * 3  # and the small network of each block's bias


def maxvit():
    net = torchvision.models.MaxVit((32, 32), 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=3)
    return net, "classifier.5", 2 * 2 * 4 + 1


def convnext():
    setting = torchvision.models.convnext.CNBlockConfig
    return torchvision.models.ConvNeXt([setting(24, 48, 1), setting(48, None, 1)], num_classes=3), "classifier.2", 4


FAMILIES = [vit, swin, swin_v2, maxvit, convnext]


def wrapped(make=vit, precision="fp32"):
    torch.manual_seed(0)
    net, head, _ = make()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return xfer.wrap(net, backend="torch", head=head, image_size=32, device="cpu", precision=precision)


def exact(model, images=IMAGES):
    """Features by the network's own module in float64."""
    found = []
    net, (x,) = copy.deepcopy(model.native).double().eval(), [model.outputs(images, ["input"])["input"]]
    net.get_submodule(model.card.head).register_forward_pre_hook(lambda module, given: found.append(given[0]))
    with torch.no_grad():
        net(torch.from_numpy(x).double().permute(0, 3, 1, 2))
    return found[0].numpy()


def assert_close(found, expected):
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("make", FAMILIES)
def test_features_are_those_of_the_module_in_float64(make, calls):
    model = wrapped(make)
    found = model.stage(IMAGES, "features")
    assert len(calls) == make()[2], "a linear layer was left to torch"
    assert_close(found, exact(model))


def test_a_network_of_the_zoo(calls):
    model = xfer.load("vit_tiny_patch16_224", backend="torch", weights=None, classes=3, image_size=32, precision="fp32")
    found = model.stage(IMAGES, "features")
    assert len(calls) == 12 * 4
    assert_close(found, exact(model))


@pytest.mark.parametrize("net", ["wrapped", "vit_tiny_patch16_224"])
def test_changed_weights(net, calls):
    """However they change: by `set_weights`, in training, and in the user's hands, past torch's count of versions."""
    options = {"weights": None, "classes": 3, "image_size": 32, "precision": "fp32"}
    model = wrapped() if net == "wrapped" else xfer.load(net, backend="torch", **options)

    def scale_weights():
        model.set_weights({name: array * 1.5 for name, array in model.weights().items()})

    def train():
        model.unfreeze()
        data = xfer.data.arrays(IMAGES, LABELS, IMAGES, LABELS, classes=["0", "1", "2"])
        trainer = xfer.Trainer(model, lr=0.1, optimizer="sgd", batch_size=3, progress=False, cache=False)
        trainer.fit(data, 1)

    def in_the_users_hands():
        for parameter in model.native.parameters():
            parameter.data.mul_(0.5)

    before = model.stage(IMAGES, "features")
    for change in (scale_weights, train, in_the_users_hands):
        change()
        calls.clear()
        found = model.stage(IMAGES, "features")
        assert calls
        assert np.abs(found - before).max() > 1e-3 * np.abs(before).max()
        assert_close(found, exact(model))
        before = found


@pytest.mark.parametrize("precision", ["fp64", "bf16"])
def test_other_precisions_are_left_to_torch(precision, calls):
    wrapped(precision=precision).stage(IMAGES, "features")
    options = {"weights": None, "classes": 3, "image_size": 32, "precision": precision}
    xfer.load("vit_tiny_patch16_224", backend="torch", **options).stage(IMAGES, "features")
    assert not calls


def test_training_has_it_up_to_the_first_trainable_block(calls):
    options = {"weights": None, "classes": 3, "image_size": 32, "precision": "fp32"}
    model = xfer.load("vit_tiny_patch16_224", backend="torch", **options)
    model.freeze()
    model.unfreeze("layer10", "layer11")
    (_, logits), *others = model.forward(xfer.specs.inputs.Inputs(IMAGES))
    assert not others
    assert len(calls) == 10 * 4
    logits.sum().backward()
    live = {name for name, parameter in model.native.named_parameters() if parameter.grad is not None}
    assert live == model.trainable
    calls.clear()
    model.unfreeze()
    model.forward(xfer.specs.inputs.Inputs(IMAGES))
    assert not calls


def test_stages_without_a_linear_layer_are_run_without_it(monkeypatch):
    entered, enter = [], linear.OneDnnLinear.__enter__
    monkeypatch.setattr(linear.OneDnnLinear, "__enter__", lambda self: entered.append(self) or enter(self))
    options = {"weights": None, "classes": 3, "image_size": 32, "precision": "fp32"}
    xfer.load("tiny", backend="torch", **options).logits(IMAGES)
    assert not entered
    xfer.load("vit_tiny_patch16_224", backend="torch", **options).logits(IMAGES)
    assert len(entered) == 12


def test_gradients_at_a_block_are_torchs(calls):
    model = wrapped()
    model.activation_gradient(IMAGES, model.blocks[1], np.eye(3))
    assert not calls


def test_copies_and_state_dicts_are_as_before():
    model = wrapped()
    keys = list(model.native.state_dict())
    expected = model.stage(IMAGES, "features")
    assert list(model.native.state_dict()) == keys
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.stage(IMAGES, "features").tobytes() == expected.tobytes()


class Masked(nn.Module):
    """Attention with a mask, with its weights asked for, to other keys, or with a bias of the keys."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        options = {"add_bias_kv": kind == "bias_kv", "add_zero_attn": kind == "zero"}
        self.attention = nn.MultiheadAttention(16, 2, batch_first=kind != "length first", **options)

    def forward(self, x):
        if self.kind == "one sequence":
            return self.attention(x[0], x[0], x[0], need_weights=False)[0]
        mask = torch.ones(x.shape[1], x.shape[1]).triu(1).bool() if self.kind == "mask" else None
        padding = torch.arange(x.shape[1]).expand(len(x), -1) > 2 if self.kind == "padding" else None
        keys = x.flip(1) if self.kind == "other keys" else x
        wanted = self.kind == "weights"
        return self.attention(x, keys, keys, key_padding_mask=padding, attn_mask=mask, need_weights=wanted)[0]


@pytest.mark.parametrize(
    "kind",
    ["plain", "length first", "mask", "padding", "weights", "other keys", "bias_kv", "zero", "one sequence"],
)
def test_any_attention_is_that_of_torch(kind, calls):
    layer = Masked(kind).eval()
    x = torch.randn(5, 5, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = layer(x)
        with linear.OneDnnLinear():
            found = layer(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert bool(calls) == (kind in ("plain", "length first"))


@pytest.mark.parametrize("shape", [(0, 8), (3, 0, 8), (8,), (2, 3, 8), (1, 2, 3, 4, 8)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "sliced", "conjugate of another dtype", "subclass"])
def test_any_linear_layer_is_that_of_torch(shape, bias, layout, calls):
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(shape, generator=draw), torch.randn(5, 8, generator=draw)
    offset = torch.randn(5, generator=draw) if bias else None
    if layout == "transposed":
        weight = torch.randn(8, 5, generator=draw).t()
    if layout == "sliced":
        x, weight = torch.randn(*shape[:-1], 16, generator=draw)[..., ::2], torch.randn(10, 16, generator=draw)[::2, 8:]
    if layout == "conjugate of another dtype":
        x, weight, offset = (None if t is None else t.to(torch.complex64).conj() for t in (x, weight, offset))
    if layout == "subclass":
        weight = weight.as_subclass(type("Mine", (torch.Tensor,), {}))
    with linear.OneDnnLinear():
        found = functional.linear(x, weight, offset)
    torch.testing.assert_close(found, functional.linear(x, weight, offset))
    assert bool(calls) == (layout in ("contiguous", "transposed", "sliced"))


def test_what_torch_compiles_is_left_to_it():
    graphs = []

    def backend(graph, example):
        graphs.append(str(graph.graph))
        return graph.forward

    compiled = torch.compile(nn.Linear(4, 4), backend=backend)
    with torch.no_grad(), linear.OneDnnLinear():
        compiled(torch.randn(2, 4))
    assert len(graphs) == 1
    assert "linear" in graphs[0]
    assert "_linear_pointwise" not in graphs[0]


def test_a_build_of_torch_without_the_kernel(monkeypatch, calls):
    options = {"weights": None, "classes": 3, "image_size": 32, "precision": "fp32", "device": "cpu"}
    model = xfer.load("tiny", backend="torch", **options)
    namespace = model.fingerprint("features")
    monkeypatch.setattr(linear, "AVAILABLE", False)
    assert model.fingerprint("features") != namespace, "features of other kernels would be mixed"
    model = wrapped()
    assert_close(model.stage(IMAGES, "features"), exact(model))
    assert not calls


def test_cached_features_of_other_precisions_keep_their_namespace(monkeypatch):
    options = {"weights": None, "classes": 3, "image_size": 32, "device": "cpu"}
    for precision in ("fp64", "bf16"):
        model = xfer.load("tiny", backend="torch", precision=precision, **options)
        namespace = model.fingerprint("features")
        monkeypatch.setattr(linear, "AVAILABLE", not linear.AVAILABLE)
        assert model.fingerprint("features") == namespace
