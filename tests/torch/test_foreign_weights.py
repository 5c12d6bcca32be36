"""Checkpoints that other tools wrote, read into the zoo: the logits are those of the tool's own network.

Lightning, fastai and transformers are no dependencies of the tests: their files are built here as pytorch-lightning
2.6.6, fastai 2.8.12 and transformers 5.24.0 were seen to write them.
"""

import argparse
import copy
import json
import pathlib
import re

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

import xfer
from xfer.errors import WeightsError


def lively(net):
    """Statistics and biases away from 0 and 1, so that every tensor shows."""
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0, generator=generator)
        elif value.is_floating_point():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
    return net.eval()


def load(name, path, size=64, **options):
    return xfer.load(name, weights=path, backend="torch", device="cpu", image_size=size, precision="fp64", **options)


def same(model, net, size=64):
    """The logits of a model are those of a network with the same pixels."""
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    with torch.inference_mode():
        theirs = net.double()(model.normalise(images).double()).numpy()
    assert theirs.std() > 0
    assert np.abs(model.logits(images) - theirs).max() <= 1e-9 * np.abs(theirs).max()


@pytest.fixture(scope="module")
def squeezenet():
    return lively(torchvision.models.squeezenet1_1(num_classes=7))


def test_torchvisions_references_have_an_average(tmp_path, squeezenet, capsys):
    """references/classification/train.py: "model", and "model_ema", an AveragedModel."""
    average = torch.optim.swa_utils.AveragedModel(copy.deepcopy(squeezenet))
    other = lively(copy.deepcopy(squeezenet))
    args = argparse.Namespace(lr=0.1, output_dir=pathlib.Path("out"))
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9).state_dict()
    checkpoint = {"model": other.state_dict(), "optimizer": optimizer, "epoch": 3, "args": args}
    torch.save(checkpoint | {"model_ema": average.state_dict()}, path := tmp_path / "model_3.pth")
    model = load("squeezenet1_1", path)
    assert model.classes == tuple("0123456")
    same(model, squeezenet)
    said = capsys.readouterr().err
    assert "has model_ema, model: model_ema is taken" in said
    assert "left out the prefix 'module.', and 1 tensors outside of it: n_averaged" in said
    assert "skipped objects beside the tensors: argparse.Namespace, pathlib.PosixPath" in said
    same(load("squeezenet1_1", f"{path}#model"), other)


@pytest.mark.parametrize(
    ("prefix", "dtype"),
    [("module.", torch.float16), ("_orig_mod.", torch.bfloat16), ("net.backbone._orig_mod.", torch.float64)],
)
def test_lightning(tmp_path, squeezenet, prefix, dtype, capsys):
    net = copy.deepcopy(squeezenet).to(dtype)
    state = {prefix + name: value for name, value in net.state_dict().items()}
    checkpoint = {
        "epoch": 1,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": state | {"loss.weight": torch.ones(7)},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {"EarlyStopping{'monitor': 'x'}": {"wait_count": 0, "best_score": torch.tensor(torch.inf)}},
        "optimizer_states": [torch.optim.AdamW(squeezenet.parameters()).state_dict()],
        "lr_schedulers": [{"step_size": 1, "_last_lr": [0.001]}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "args": argparse.Namespace(a=1), "path": pathlib.Path("y")},
    }
    torch.save(checkpoint, path := tmp_path / "last.ckpt")
    model = load("squeezenet1_1", path, classes=["ant", "bee"])
    assert model.classes == ("ant", "bee")
    said = capsys.readouterr().err
    assert "its head for 7 classes is replaced by a new one for 2 classes" in said
    assert "1 tensors outside of it: loss.weight" in said
    same(load("squeezenet1_1", path), net.float())


def fastai(net, body):
    """What `vision_learner(dls, ...).save` writes of such a network."""
    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(1024), torch.nn.Linear(1024, 3, bias=False))
    whole = torch.nn.Sequential(body, head)
    hypers = [{"lr": 1e-3, "mom": np.float64(0.9)}]  # fastai's have a list of their own, fastcore's L
    return {"model": whole.state_dict(), "opt": {"state": [], "hypers": hypers}}


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", pytest.param("densenet121", marks=pytest.mark.long)])
def test_fastai(tmp_path, name, capsys):
    net = lively(getattr(torchvision.models, name)())
    body = torch.nn.Sequential(*list(net.children())[: -2 if name == "resnet18" else -1])
    torch.save(fastai(net, body), path := tmp_path / "x.pth", pickle_protocol=2)
    model = load(name, path, classes=3)
    assert "read by the numbers of its layers, without its head" in capsys.readouterr().err
    state, weights = net.state_dict(), model.weights()
    backbone = [n for n in weights if not n.startswith(f"{model.card.head}.")]
    assert len(backbone) > 40
    assert all(np.array_equal(weights[name], state[name].numpy()) for name in backbone)
    with pytest.raises(WeightsError, match=r"has no head .*: give classes= for a new one"):
        load(name, path)


def test_fastai_of_a_network_without_all_its_layers_is_refused(tmp_path):
    """fastai cuts a MobileNet v3 before the dense layer that is part of the backbone here."""
    net = torchvision.models.mobilenet_v3_small(num_classes=3)
    torch.save(fastai(net, torch.nn.Sequential(net.features)), path := tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="is not a mobilenet_v3_small: only 0 of its 210 tensors") as caught:
        load("mobilenet_v3_small", path, classes=3)
    assert "\n" not in str(caught.value)


SLOW = {
    "resnet18": ("resnet18", 64),
    "regnet_y_400mf": ("regnety_004", 64),
    "densenet121": ("densenet121", 64),
    "resnext50_32x4d": ("resnext50_32x4d", 64),
    "inception_v3": ("inception_v3", 96),
    "convnext_tiny": ("convnext_tiny", 64),
    "vgg11_bn": ("vgg11_bn", 224),
    "swin_t": ("swin_tiny_patch4_window7_224", 224),
    "vit_b_32": ("vit_base_patch32_224", 224),
}


def from_timm(folder, ours, theirs, size):
    net = lively(timm.create_model(theirs, num_classes=5))
    save_file(net.state_dict(), path := folder / "model.safetensors")
    model = load(ours, path, size)
    assert len(model.classes) == 5
    same(model, net, size)


def test_timm(tmp_path):
    from_timm(tmp_path, "mobilenet_v2", "mobilenetv2_100", 64)


@pytest.mark.long
@pytest.mark.parametrize("name", SLOW)
def test_timm_of_large_networks(tmp_path, name):
    from_timm(tmp_path, name, *SLOW[name])


def merged_late(name):
    """Swin's authors and timm before 0.9 have the merging of patches at the end of a stage."""
    found = re.fullmatch(r"layers\.(\d)\.(downsample.*)", name)
    return f"layers.{int(found[1]) - 1}.{found[2]}" if found else name.replace("head.fc.", "head.")


def by_its_authors(name):
    """facebookresearch/ConvNeXt."""
    name = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name).replace(".blocks.", ".")
    name = name.replace("stem.", "downsample_layers.0.").replace("conv_dw.", "dwconv.").replace("mlp.fc", "pwconv")
    return name.replace("head.norm.", "norm.").replace("head.fc.", "head.")


@pytest.mark.long
@pytest.mark.parametrize(
    ("ours", "theirs", "rename"),
    [("swin_t", "swin_tiny_patch4_window7_224", merged_late), ("convnext_tiny", "convnext_tiny", by_its_authors)],
)
def test_the_authors_names(tmp_path, ours, theirs, rename):
    net = lively(timm.create_model(theirs))
    torch.save({"model": {rename(n): value for n, value in net.state_dict().items()}}, path := tmp_path / "x.pth")
    same(load(ours, path, 224), net, 224)


def test_names_that_do_not_say_what_the_network_computes_are_refused(tmp_path):
    """timm's efficientnet_b0 and tf_efficientnet_b0 have the same tensors and pad in two ways."""
    save_file(timm.create_model("efficientnet_b0").state_dict(), path := tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="timm's names of an EfficientNet or MobileNet, which do not say") as caught:
        load("efficientnet_b0", path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ours", "config", "message"),
    [
        ("efficientnet_lite0", {"architecture": "efficientnet_lite0"}, "pads unlike TensorFlow; tf_efficientnet_lite0"),
        ("tf_efficientnet_b0", {"architecture": "efficientnet_b0"}, "tf_efficientnet_b0 is this network"),
        ("tf_efficientnet_b0", {"architecture": "tf_efficientnet_b1"}, "it is timm's tf_efficientnet_b1: load it by"),
        ("mobilenetv4_conv_medium", {"architecture": "mobilenetv4_conv_blur_medium"}, "averages or blurs where it"),
        ("resnet18", {"architecture": "resnetblur18"}, "timm's resnetblur18, which blurs where it strides"),
        ("resnet18", {"model_type": "resnet", "downsample_in_bottleneck": True}, "downsample_in_bottleneck"),
    ],
)
def test_what_the_tensors_do_not_say_is_read_beside_them(tmp_path, ours, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"conv1.weight": torch.zeros(1)}, path := tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=message):
        load(ours, path)


def of_transformers(name):
    """ResNetForImageClassification's name of a tensor of torchvision's ResNet."""
    stem = {"conv1": "convolution", "bn1": "normalization"}
    layer, _, kind = name.rpartition(".")
    if layer in stem:
        return f"resnet.embedder.embedder.{stem[layer]}.{kind}"
    if layer == "fc":
        return f"classifier.1.{kind}"
    stage, block, part, number = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)", layer).groups()
    place = f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}"
    if part == "downsample.":
        return f"{place}.shortcut.{('convolution', 'normalization')[int(number)]}.{kind}"
    return f"{place}.layer.{int(number) - 1}.{'convolution' if part == 'conv' else 'normalization'}.{kind}"


def test_transformers_in_shards(tmp_path):
    net = lively(torchvision.models.resnet18(num_classes=5))
    state = {of_transformers(name): value for name, value in net.state_dict().items()}
    names = sorted(state)
    files = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, held in files.items():
        save_file({name: state[name] for name in held}, tmp_path / file)
    weight_map = {name: file for file, held in files.items() for name in held}
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    same(load("resnet18", path), net)


@pytest.mark.parametrize(
    ("asked", "given", "message"),
    [
        ("resnet50", "resnet18", r"is not a resnet50: .* it lacks layer1\.0\.conv3\.weight, layer1\.0\.bn3"),
        ("squeezenet1_0", "squeezenet1_1", r"lacks 12 tensors of squeezenet1_0: features\.5\.squeeze\.weight"),
        ("mobilenet_v3_small", "mobilenet_v3_large", r"lacks \d+ tensors of|is not a|of other shapes than"),
    ],
)
def test_another_architecture_is_named(tmp_path, asked, given, message):
    state = getattr(torchvision.models, given)(num_classes=3).state_dict()
    torch.save({"state_dict": {f"model.{name}": value for name, value in state.items()}}, path := tmp_path / "x.ckpt")
    with pytest.raises(WeightsError, match=message) as caught:
        load(asked, path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(f"; it fits {given}")
