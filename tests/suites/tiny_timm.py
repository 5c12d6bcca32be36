"""Networks of timm's kinds, too small to be in the zoo: every switch of its families by the same code."""

from functools import partial

from xfer.zoo import convnext_v2, timm_vit

_VIT = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "eps": 1e-6}
_CONVNEXT = {"depths": [1, 1, 2, 1], "dims": [8, 12, 16, 24], "use_grn": True, "ls_init_value": None}
_ENTRY = {"licence": "apache-2.0", "resize": 36, "interpolation": "bicubic"}
_ENTRY |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.5]}

ARGUMENTS = {
    "tiny_vit": _VIT,
    "tiny_deit3": _VIT | {"no_embed_class": True, "init_values": 1e-6},
    "tiny_dinov2": _VIT | {"init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True},
    "tiny_registers": _VIT | {"reg_tokens": 2},
    "tiny_clip": _VIT | {"pre_norm": True, "eps": 1e-5, "act": "quick_gelu"},
    "tiny_siglip": _VIT | {"class_token": False, "global_pool": "map", "act": "gelu_tanh"},
    "tiny_gap": _VIT
    | {"class_token": False, "global_pool": "avg", "reg_tokens": 1, "no_embed_class": True, "mlp_ratio": 5},
    "tiny_gap_normed": _VIT | {"class_token": False, "global_pool": "avg", "fc_norm": False, "qkv_bias": False},
    "tiny_convnext_v2": _CONVNEXT,
    "tiny_convnext_v2_conv": _CONVNEXT | {"conv_mlp": True},
}
STEPPED = ("tiny_dinov2", "tiny_clip", "tiny_siglip", "tiny_gap", "tiny_convnext_v2_conv")  # they have every layer
_OUTPUTS = {"tiny_dinov2": 0, "tiny_clip": 7}


def _size(name):
    return 64 if "convnext" in name else 32


def _card(name, arguments):
    family = convnext_v2 if "convnext" in name else timm_vit
    row = _ENTRY | {"size": _size(name), "repo": f"timm/{name}.seeded", "outputs": _OUTPUTS.get(name, 5)}
    return family.card(name, arguments, 40_000, {"seeded": row | {"resize": _size(name) + 4}})


CARDS = {name: _card(name, arguments) for name, arguments in ARGUMENTS.items()}
VITS = [name for name in CARDS if "convnext" not in name]


def timms(name, size=None, classes=5, **more):
    """timm's own network, with weights, biases and tokens that all show."""
    import torch
    from timm.layers import LayerNorm
    from timm.models.convnext import ConvNeXt
    from timm.models.vision_transformer import VisionTransformer

    options = ARGUMENTS[name] | more
    if name in VITS:
        act = options.pop("act", "gelu")
        options |= {"norm_layer": partial(LayerNorm, eps=options.pop("eps")), "act_layer": act, "img_size": size or 32}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = (VisionTransformer if name in VITS else ConvNeXt)(num_classes=classes, **options)
        for value in net.state_dict().values():
            value.add_(0.1 * torch.randn(value.shape))
    return net.eval()
