"""Networks of timm's kinds, too small to be in the zoo: every switch of its families by the same code."""

from functools import partial

from xfer.zoo import convnext_v2, eva02, mobilenet_v4, resnet_d, tf_efficientnet, timm_vit

_VIT = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "eps": 1e-6}
_CONVNEXT = {"depths": [1, 1, 2, 1], "dims": [8, 12, 16, 24], "use_grn": True, "ls_init_value": None}
_EVA = {
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 8 / 3,
    "swiglu_mlp": True,
    "eps": 1e-6,
}
_EFFICIENT = [["ds_r1_k3_s1_e1_c8_se0.25"], ["cn_r1_k3_s1_e1_c8_skip"]]
_EFFICIENT += [["er_r1_k3_s2_e4_c16"], ["ir_r2_k5_s2_e4_c16_se0.25"]]
_MOBILE = [
    ["cn_r1_k3_s2_e1_c8"],
    ["er_r1_k3_s2_e4_c16"],
    ["uir_r1_a3_k5_s1_e2_c16", "mqa_r1_k3_h2_s1_v2_d8_c16", "uir_r1_a5_k0_s1_e4_c16"],
    ["uir_r1_a3_k0_s2_e2_c24", "mqa_r1_k3_h4_s1_d8_c24", "uir_r1_a0_k0_s1_e2_c24"],
    ["cn_r1_k1_s1_c32"],
]
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
    "tiny_eva02": _EVA,
    "tiny_eva02_clip": _EVA | {"qkv_fused": False, "scale_mlp": True, "scale_attn_inner": True, "global_pool": "token"},
    "tiny_convnext_v2": _CONVNEXT,
    "tiny_convnext_v2_conv": _CONVNEXT | {"conv_mlp": True},
    "tiny_tf_efficientnet": {"stages": _EFFICIENT, "stem_size": 8, "num_features": 24, "act": "silu", "eps": 1e-3},
    "tiny_mobilenetv4": {"stages": _MOBILE, "stem_size": 8, "num_features": 24, "act": "gelu", "eps": 1e-5}
    | {"init_values": 1e-5},
    "tiny_resnetrs": {"layers": [1, 1, 1, 1], "bottleneck": True, "squeeze": True, "replace_stem_pool": True},
}
STEPPED = ("tiny_dinov2", "tiny_clip", "tiny_siglip", "tiny_gap", "tiny_convnext_v2_conv")  # they have every layer
STEPPED += ("tiny_eva02_clip", "tiny_tf_efficientnet", "tiny_mobilenetv4")
_FAMILIES = {"convnext": convnext_v2, "eva02": eva02, "tf_efficientnet": tf_efficientnet, "mobilenetv4": mobilenet_v4}
_FAMILIES["resnet"] = resnet_d
_OUTPUTS = {"tiny_dinov2": 0, "tiny_clip": 7, "tiny_eva02_clip": 7}
ADAPTED = ("tiny_siglip", "tiny_gap")


def _size(name):
    return 64 if "convnext" in name else 32


def _card(name, arguments):
    family = next((module for part, module in _FAMILIES.items() if part in name), timm_vit)
    row = _ENTRY | {"size": _size(name), "repo": f"timm/{name}.seeded", "outputs": _OUTPUTS.get(name, 5)}
    return family.card(name, arguments, 40_000, {"seeded": row | {"resize": _size(name) + 4}})


CARDS = {name: _card(name, arguments) for name, arguments in ARGUMENTS.items()}


def _build(name, size, classes, more):
    from timm.layers import LayerNorm, get_act_layer, get_attn
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.convnext import ConvNeXt
    from timm.models.efficientnet import EfficientNet
    from timm.models.eva import Eva
    from timm.models.mobilenetv3 import MobileNetV3
    from timm.models.resnet import Bottleneck, ResNet
    from timm.models.vision_transformer import VisionTransformer
    from torch.nn import BatchNorm2d

    options, family = ARGUMENTS[name] | {"num_classes": classes} | more, CARDS[name].family
    if family == "convnext_v2":
        return ConvNeXt(**options)
    if family == "resnet_d":
        del options["bottleneck"], options["squeeze"]
        squeeze = {"attn_layer": partial(get_attn("se"), rd_ratio=0.25)}
        return ResNet(Bottleneck, stem_width=32, stem_type="deep", avg_down=True, block_args=squeeze, **options)
    eps = options.pop("eps")
    if family in ("timm_vit", "eva02"):
        options |= {"norm_layer": partial(LayerNorm, eps=eps), "img_size": size or 32}
    if family == "timm_vit":
        return VisionTransformer(act_layer=options.pop("act", "gelu"), **options)
    if family == "eva02":
        return Eva(use_rot_pos_emb=True, ref_feat_shape=(16, 16), **options)
    options |= {"block_args": decode_arch_def(options.pop("stages")), "norm_layer": partial(BatchNorm2d, eps=eps)}
    options["act_layer"] = get_act_layer(options.pop("act"))
    if family == "tf_efficientnet":
        return EfficientNet(pad_type="same", **options)
    layer_scale = options.pop("init_values", None)
    return MobileNetV3(head_bias=False, head_norm=True, layer_scale_init_value=layer_scale, **options)


def timms(name, size=None, classes=5, **more):
    """timm's own network, with weights, biases and tokens that all show."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = _build(name, size, classes, more)
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.randn(value.shape))
    return net.eval()
