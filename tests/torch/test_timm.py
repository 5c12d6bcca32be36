"""timm's networks in the zoo: features and logits are those of timm's own module, from files that timm wrote."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save, save_file
from timm.layers.pos_embed_sincos import build_rotary_pos_embed
from timm.models.vision_transformer import checkpoint_filter_fn

import xfer
from tests.suites import timm_table
from tests.suites.hub import hub as hub
from tests.suites.tiny_timm import CARDS, timms
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.errors import UsageError, WeightsError
from xfer.report.card import Card
from xfer.zoo import cards
from xfer_torch.nets.families import FAMILIES

BOUND = {"fp32": 1e-5, "fp64": 1e-9}
TIMMS = [card for card in cards() if card.name in {name for names in timm_table.NAMES.values() for name in names}]
LITES = [card for card in cards() if card.name.startswith("efficientnet_lite")]
MARKED = [pytest.param(card, marks=pytest.mark.long if card.name in timm_table.SLOW else ()) for card in TIMMS]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The zoo with the tiny networks, on the hub too."""
    for name, card in CARDS.items():
        monkeypatch.setitem(xfer.zoo._CARDS, name, card)


def load(name, weights, size=32, **options):
    return xfer.load(name, weights=weights, backend="torch", device="cpu", image_size=size, **options)


def theirs(net, model, images, precision="fp64"):
    """Features and logits of timm's module."""
    dtype = torch.float64 if precision == "fp64" else torch.float32
    with torch.inference_mode():
        net = net.to(dtype)
        if precision == "fp64" and getattr(net, "rope", None) is not None:
            exact_rotary(net)
        features = net.forward_head(net.forward_features(model.normalise(images).to(dtype)), pre_logits=True)
        return features.numpy(), net.get_classifier()(features).numpy()


def exact_rotary(net):
    """timm computes the frequencies of rotary embeddings in float32, xfer in float64."""
    number = net.embed_dim // net.blocks[0].attn.num_heads // 4
    bands = 1 / 10_000 ** (torch.arange(number, dtype=torch.float64) / number)
    options = {"ref_feat_shape": [16, 16], "in_pixels": False, "dtype": torch.float64}
    tables = torch.cat(build_rotary_pos_embed(list(net.patch_embed.grid_size), bands, **options), -1)
    assert (tables - net.rope.pos_embed).abs().max() < 1e-5
    net.rope.pos_embed = tables


def create(card, classes, size):
    name = f"tf_{card.name}" if card in LITES else card.name
    return timm.create_model(name, num_classes=classes, **({"img_size": size} if card.positions else {}))


def worst(ours, expected):
    assert ours.shape == expected.shape
    assert expected.std() > 0
    return np.abs(ours - expected).max() / np.abs(expected).max()


def features_of(model, size=32):
    return model.block_outputs(pixels(size))["features"]


def pixels(size=32):
    return np.random.default_rng(0).integers(0, 256, (3, size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("name", CARDS)
def test_features_and_logits_are_timms(tmp_path, name, precision):
    save_file(timms(name).state_dict(), path := tmp_path / "model.safetensors")
    size = CARDS[name].preprocessing.size
    model = load(name, path, size, precision=precision)
    features, logits = theirs(timms(name), model, pixels(size), precision)
    assert model.classes == tuple("01234")
    assert worst(features_of(model, size), features) <= BOUND[precision]
    assert worst(model.logits(pixels(size)), logits) <= BOUND[precision]


@pytest.mark.parametrize("size", [48, 16])
@pytest.mark.parametrize("name", ["tiny_vit", "tiny_dinov2", "tiny_registers", "tiny_siglip", "tiny_eva02"])
def test_another_image_size_is_timms(tmp_path, name, size, capsys):
    """1.5 and 0.5 times the size that the weights were trained at, against `set_input_size`."""
    save_file(timms(name).state_dict(), path := tmp_path / "model.safetensors")
    model = load(name, path, size, precision="fp64")
    assert f"pos_embed resized from 4 x 4 to {size // 8} x {size // 8} places" in capsys.readouterr().err
    assert model.resized == (4, size // 8)
    net = timms(name)
    net.set_input_size((size, size))
    prefix = model.card.positions["pos_embed"]
    given, expected = model.weights()["pos_embed"], net.pos_embed.detach().numpy()
    assert np.abs(given - expected).max() <= 1e-6
    assert np.array_equal(given[:, :prefix], timms(name).pos_embed[:, :prefix].detach().numpy())
    # timm resizes in float32, and the difference is in the features
    assert worst(features_of(model, size), theirs(net, model, pixels(size))[0]) <= 1e-5


@pytest.mark.parametrize("size", [33, 38])
@pytest.mark.parametrize("name", ["tiny_tf_efficientnet", "tiny_mobilenetv4", "tiny_resnetrs"])
def test_padding_is_timms_at_every_size(tmp_path, name, size):
    """TensorFlow's depends on the size, at each layer with a stride."""
    save_file(timms(name).state_dict(), path := tmp_path / "model.safetensors")
    model = load(name, path, size, precision="fp64")
    features, logits = theirs(timms(name), model, pixels(size))
    assert worst(features_of(model, size), features) <= BOUND["fp64"]
    assert worst(model.logits(pixels(size)), logits) <= BOUND["fp64"]


@pytest.mark.parametrize("name", ["tiny_siglip", "tiny_eva02"])
def test_a_network_is_exported_for_batches_of_any_size(name):
    net, _ = FAMILIES[CARDS[name].family](CARDS[name].at(32))
    images, batch = torch.zeros(2, 3, 32, 32), torch.export.Dim("batch", min=1, max=1024)
    torch.export.export(net.float().eval(), (images,), dynamic_shapes=({0: batch},))


def test_a_run_keeps_its_size_and_what_was_resized(tmp_path, capsys):
    save_file(timms("tiny_vit").state_dict(), path := tmp_path / "model.safetensors")
    model = load("tiny_vit", path, 48, classes=["a", "b"], precision="fp32")
    model.save(tmp_path / "run")
    assert json.loads((tmp_path / "run/manifest.json").read_text())["resized"] == [4, 6]
    manifest = open_checkpoint(tmp_path / "run").manifest
    text = Card("me/net", manifest, {}, None, None, False).text()
    assert "| position embeddings | resized from 4 x 4 to 6 x 6 places |" in text
    capsys.readouterr()
    again = xfer.load(tmp_path / "run", backend="torch", device="cpu")
    assert (again.spec.preprocessing.size, again.resized) == (48, (4, 6))
    assert np.array_equal(again.logits(pixels(48)), model.logits(pixels(48)))
    assert "resized" not in capsys.readouterr().err
    other = xfer.load(tmp_path / "run", backend="torch", device="cpu", image_size=32)
    assert other.resized == (6, 4)
    assert np.isfinite(other.logits(pixels(32))).all()


def test_positions_that_are_no_square_grid_are_refused(tmp_path):
    state = timms("tiny_vit").state_dict()
    save_file(state | {"pos_embed": state["pos_embed"][:, :-1].clone()}, path := tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 tensors of other shapes than tiny_vit: pos_embed \(1, 16, 24\)"):
        load("tiny_vit", path)


def test_published_weights_come_from_the_hub(hub, tmp_path):
    net = timms("tiny_vit")
    commit = hub.add("timm/tiny_vit.seeded", {"model.safetensors": save(net.state_dict())})
    for weights in ("imagenet", "timm", "seeded", "hf://timm/tiny_vit.seeded"):
        model = load("tiny_vit", weights, precision="fp64")
        assert worst(model.logits(pixels()), theirs(net, model, pixels())[1]) <= 1e-9
        assert (model.source.repo, model.source.commit) == ("timm/tiny_vit.seeded", commit)
        assert model.spec.preprocessing == CARDS["tiny_vit"].preprocessing
    model.save(tmp_path / "run")
    assert json.loads((tmp_path / "run/manifest.json").read_text())["source"]["repo"] == "timm/tiny_vit.seeded"
    with pytest.raises(WeightsError, match=r"timm/tiny_gap.seeded is not on http"):
        load("tiny_gap", "timm")


def test_timms_weights_of_a_network_of_torchvision(hub):
    """The same tensors with timm's preprocessing; DINOv3's ConvNeXt has no classes."""
    net = timm.create_model("resnet18", num_classes=4).eval()
    hub.add("timm/resnet18.a1_in1k", {"model.safetensors": save(net.state_dict())})
    model = xfer.load("resnet18", weights="timm", backend="torch", device="cpu", precision="fp64")
    assert (model.spec.preprocessing.resize, model.spec.preprocessing.interpolation) == (235, "bicubic")
    with torch.inference_mode():
        expected = net.double()(model.normalise(pixels(224))).numpy()
    assert worst(model.block_outputs(pixels(224))["head"], expected) <= 1e-9
    with pytest.raises(UsageError, match="dinov3_lvd1689m of convnext_tiny give features and no classes"):
        load("convnext_tiny", "dinov3_lvd1689m")


@pytest.mark.parametrize("name", ["tiny_dinov2", "tiny_clip"])
def test_weights_without_classes_need_a_new_head(hub, name, tmp_path):
    """DINOv2's have no head; CLIP's is a projection into the space of images and texts."""
    net = timms(name, classes=0 if name == "tiny_dinov2" else 7)
    files = {"model.safetensors": save(net.state_dict())}
    hub.add(f"timm/{name}.seeded", files)
    with pytest.raises(UsageError, match=f"the weights seeded of {name} give features and no classes: a new head is"):
        load(name, "timm")
    assert not hub.requests
    with pytest.raises(UsageError, match="give features and no classes"):
        load(name, f"hf://timm/{name}.seeded")
    path = tmp_path / "model.safetensors"
    path.write_bytes(files["model.safetensors"])
    with pytest.raises((UsageError, WeightsError), match=r"no classes: a new head is|has no head .*: give classes="):
        load(name, path)
    for weights in ("timm", path):
        model = load(name, weights, classes=["a", "b"], precision="fp64")
        assert model.logits(pixels()).shape == (3, 2)
        with torch.inference_mode():
            x = net.double().forward_features(model.normalise(pixels()))
            expected = net.forward_head(x, pre_logits=True).numpy()
        assert worst(features_of(model), expected) <= 1e-9


def test_timm_has_no_weights_of_these():
    with pytest.raises(WeightsError, match="no weights of timm are known for alexnet"):
        load("alexnet", "timm")
    with pytest.raises(WeightsError, match="nothing is published for tiny: give weights=None or a path"):
        load("tiny", "timm")


def test_a_file_of_another_activation_is_refused(tmp_path):
    """timm's files say in config.json what their tensors do not."""
    save_file({"head.bias": torch.zeros(1)}, path := tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_base_patch32_clip_quickgelu_224"}))
    with pytest.raises(WeightsError, match="it is timm's vit_base_patch32_clip_quickgelu_224: load it by that name"):
        load("vit_base_patch32_clip_224", path, 64)


@pytest.mark.long
def test_the_table_is_of_timms_package_data():
    """On another version of timm: `python -m tests.suites.timm_table`, and read the difference."""
    for family in timm_table.TABLES:
        assert json.loads((timm_table.ZOO / f"{family}.json").read_text()) == timm_table.table(family)


def test_cards_say_what_timm_says():
    assert len(TIMMS) >= 40
    for card in cards():
        for entry in (entry for entry in card.weights if entry.repo and card.name not in CARDS):
            cfg = timm.get_pretrained_cfg(f"{card.name}.{entry.name}")
            recipe = card.preprocessing_for(entry.name)
            assert entry.repo == cfg.hf_hub_id
            assert entry.licence == cfg.license
            data = timm.data.create_transform(
                cfg.input_size, interpolation=cfg.interpolation, crop_pct=cfg.crop_pct, crop_mode=cfg.crop_mode
            )
            resize = (recipe.resize, recipe.resize) if recipe.squash else recipe.resize
            assert (data.transforms[0].size, data.transforms[1].size) == (resize, (recipe.size, recipe.size))
            assert (recipe.mean, recipe.std, recipe.interpolation) == (cfg.mean, cfg.std, cfg.interpolation)
            assert entry.features_only or cfg.num_classes in (1000, 11821, 21841, 21843)
            assert entry.acc1 is None


@pytest.mark.parametrize("card", MARKED, ids=lambda card: card.name)
def test_tensors_are_timms(card):
    """Names and shapes of every architecture, without memory for its weights."""
    size = card.preprocessing.size
    with torch.device("meta"):
        native, _ = FAMILIES[card.family](card.at(size))
        net = create(card, 1000, size)
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    assert {name: tensor.shape for name, tensor in native.state_dict().items()} == shapes
    assert card.parameters == sum(parameter.numel() for parameter in net.parameters())
    norms = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert {(layer.eps, layer.momentum) for layer in norms} <= {(card.norm_eps, card.norm_momentum)}


@pytest.mark.long
@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("card", TIMMS + LITES, ids=lambda card: card.name)
def test_every_architecture_is_timms(card, precision):
    size = 2 * card.config.get("patch", 32)
    net = create(card, 10, size).eval()
    generator = torch.Generator().manual_seed(0)
    state = {name: value for name, value in net.state_dict().items() if value.is_floating_point()}
    for value in state.values():
        value.add_(0.05 * torch.randn(value.shape, generator=generator))
    model = load(card.name, None, size, classes=10, precision=precision)
    model.set_weights({name: value.numpy() for name, value in state.items()})
    features, logits = theirs(net, model, pixels(size), precision)
    assert worst(features_of(model, size), features) <= BOUND[precision]
    assert worst(model.logits(pixels(size)), logits) <= BOUND[precision]


def test_the_preprocessing_is_that_of_the_weights(tmp_path, monkeypatch, capsys):
    """AugReg's and DINO's files have the same tensors; timm's config.json has the name of the weights."""
    card = CARDS["tiny_vit"]
    other = replace(card.preprocessing, mean=(0.0, 0.25, 0.5))
    monkeypatch.setitem(xfer.zoo._CARDS, "tiny_vit", replace(card, variants={**card.variants, "other": other}))
    save_file(timms("tiny_vit").state_dict(), path := tmp_path / "model.safetensors")
    assert load("tiny_vit", path).spec.preprocessing == card.preprocessing
    assert "the preprocessing is that of the weights 'seeded'" in capsys.readouterr().err
    config = {"architecture": "tiny_vit", "pretrained_cfg": {"tag": "other"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load("tiny_vit", path).spec.preprocessing == other
    assert not capsys.readouterr().err
    for hostile in ({"pretrained_cfg": []}, {"pretrained_cfg": {"tag": {}}}, {"architecture": []}):
        (tmp_path / "config.json").write_text(json.dumps(config | hostile))
        assert load("tiny_vit", path).spec.preprocessing == card.preprocessing


def dinov2s(state):
    """Names and shapes of facebookresearch/dinov2, whose class token has a place too."""
    places = torch.cat([torch.full((1, 1, 24), 0.5), state["pos_embed"]], dim=1)
    others = {name: value for name, value in state.items() if not name.startswith(("reg_token", "pos_embed", "head"))}
    return others | {"pos_embed": places, "register_tokens": state["reg_token"], "mask_token": torch.ones(1, 24)}


def clips(state):
    """Names and shapes of openai/CLIP and OpenCLIP, with a tensor of the tower for texts."""
    parts = [("patch_embed.proj", "conv1"), ("norm_pre", "ln_pre"), ("blocks.", "transformer.resblocks.")]
    parts += [(".norm", ".ln_"), ("qkv.", "in_proj_"), ("attn.proj", "attn.out_proj")]
    parts += [("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("pos_embed", "positional_embedding")]
    named = {}
    for name, value in state.items():
        for ours, others in parts:
            name = name.replace(ours, others)
        named[f"visual.{name}".replace("visual.norm.", "visual.ln_post.")] = value
    named["visual.positional_embedding"] = named["visual.positional_embedding"][0].clone()
    named["visual.class_embedding"] = named.pop("visual.cls_token")[0, 0].clone()
    named["visual.proj"] = named.pop("visual.head.weight").T.contiguous()
    del named["visual.head.bias"]
    return named | {"logit_scale": torch.ones(()), "token_embedding.weight": torch.ones(3, 24)}


def deit3s(state):
    return {name.replace(".ls1.gamma", ".gamma_1").replace(".ls2.gamma", ".gamma_2"): v for name, v in state.items()}


@pytest.mark.parametrize(("name", "authors"), [("tiny_dinov2", dinov2s), ("tiny_clip", clips), ("tiny_deit3", deit3s)])
def test_the_authors_names(tmp_path, name, authors):
    """Against what timm reads of the same file."""
    state = authors(timms(name, classes=7).state_dict())
    torch.save(state, path := tmp_path / "x.pth")
    net = timms(name, classes=7)
    net.load_state_dict(checkpoint_filter_fn(dict(state), net, adapt_layer_scale=name == "tiny_deit3"), strict=False)
    model = load(name, path, classes=2, precision="fp64")
    assert worst(features_of(model), theirs(net, model, pixels())[0]) <= 1e-9
    if name == "tiny_clip":
        read = xfer.zoo.card(name).canonical({n.removeprefix("visual."): v.numpy() for n, v in state.items()})
        assert np.array_equal(read["head.weight"], net.head.weight.detach().float().numpy())
