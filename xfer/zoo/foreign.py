"""Names that other libraries give to the tensors of a network that torchvision has too.

Only where the networks compute the same from the same tensors: timm's VGG, MobileNet v2, RegNet, ConvNeXt (and the
names of its authors), ViT and Swin; the ResNets of Hugging Face's transformers; and for timm's vision transformers the
names of the authors of DeiT 3, DINOv2 and CLIP (OpenAI's and OpenCLIP's). timm's ResNets and DenseNets have
torchvision's names, and the zoo's EfficientNet-Lite, `tf_efficientnet*` and MobileNet v4 have timm's. Others whose
names are known compute something else, or may do so, and `refusal` says what.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

Rename = Callable[[str], str]
Rules = tuple[tuple[str, str], ...]

_VIT: Rules = (
    (r"cls_token", "class_token"),
    (r"pos_embed", "encoder.pos_embedding"),
    (r"patch_embed\.proj\.(.+)", r"conv_proj.\1"),
    (r"blocks\.(\d+)\.norm([12])\.(.+)", r"encoder.layers.encoder_layer_\1.ln_\2.\3"),
    (r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", r"encoder.layers.encoder_layer_\1.self_attention.in_proj_\2"),
    (r"blocks\.(\d+)\.attn\.proj\.(.+)", r"encoder.layers.encoder_layer_\1.self_attention.out_proj.\2"),
    (r"blocks\.(\d+)\.mlp\.fc1\.(.+)", r"encoder.layers.encoder_layer_\1.mlp.0.\2"),
    (r"blocks\.(\d+)\.mlp\.fc2\.(.+)", r"encoder.layers.encoder_layer_\1.mlp.3.\2"),
    (r"norm\.(.+)", r"encoder.ln.\1"),
    (r"head\.(.+)", r"heads.head.\1"),
)
_VGG: Rules = (
    (r"pre_logits\.fc1\.(.+)", r"classifier.0.\1"),
    (r"pre_logits\.fc2\.(.+)", r"classifier.3.\1"),
    (r"head\.fc\.(.+)", r"classifier.6.\1"),
)
_REGNET: Rules = (
    (r"stem\.conv\.(.+)", r"stem.0.\1"),
    (r"stem\.bn\.(.+)", r"stem.1.\1"),
    (r"head\.fc\.(.+)", r"fc.\1"),
)
# transformers.ResNetForImageClassification and ResNetModel.
_RESNET: Rules = (
    (r"(?:resnet\.)?embedder\.embedder\.convolution\.(.+)", r"conv1.\1"),
    (r"(?:resnet\.)?embedder\.embedder\.normalization\.(.+)", r"bn1.\1"),
    (r"classifier\.1\.(.+)", r"fc.\1"),
)
# facebookresearch/deit and dinov2; openai/CLIP and mlfoundations/open_clip below the prefix "visual".
_TIMM_VIT: Rules = (
    (r"blocks\.(\d+)\.gamma_([12])", r"blocks.\1.ls\2.gamma"),
    (r"register_tokens", "reg_token"),
    (r"class_embedding", "cls_token"),
    (r"positional_embedding", "pos_embed"),
    (r"conv1\.weight", "patch_embed.proj.weight"),
    (r"ln_pre\.(.+)", r"norm_pre.\1"),
    (r"ln_post\.(.+)", r"norm.\1"),
    (r"transformer\.resblocks\.(\d+)\.ln_([12])\.(.+)", r"blocks.\1.norm\2.\3"),
    (r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
    (r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(.+)", r"blocks.\1.attn.proj.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(.+)", r"blocks.\1.mlp.fc1.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(.+)", r"blocks.\1.mlp.fc2.\2"),
    (r"proj", "head.weight"),
)
_UNLIKE = (
    (
        r"embeddings\.patch_embeddings\.",
        "a ViT or ConvNeXt of transformers, whose normalisation has another epsilon than torchvision's",
    ),
    (
        r"conv_stem\.weight|_conv_stem\.weight",
        "timm's names of an EfficientNet or MobileNet, which do not say how it pads",
    ),
)


def rename(family: str, config: Mapping[str, Any], names: Collection[str]) -> Rename:
    """The function from a tensor's name to the canonical one; a name that it does not know stays as it is.

    Args:
        family, config: of the card.
        names: all names of the file, with or without a prefix.
    """
    match family:
        case "vit":
            return _by(_VIT)
        case "timm_vit":
            return _by(_TIMM_VIT)
        case "vgg":
            return _by(_VGG)
        case "swin":
            return _swin(before=not any(re.search(r"(^|\.)layers\.0\.downsample\.", name) for name in names))
        case "convnext":
            return _convnext
        case "mobilenet_v2":
            return _mobilenet_v2([stage[2] for stage in config["stages"]])
        case "regnet":
            return _regnet
        case "resnet":
            return _resnet
    return lambda name: name


def refusal(family: str, names: Collection[str]) -> str:
    """Why tensors of these names are not those of a network of this family, if that is known; else nothing."""
    if family in ("tf_efficientnet", "mobilenet_v4"):  # which have timm's names
        return ""
    return next((reason for pattern, reason in _UNLIKE if any(re.search(pattern, name) for name in names)), "")


def conflict(family: str, config: Mapping[str, Any]) -> str:
    """Why a network of these names computes something else, if a `config.json` beside its weights says so; or nothing.

    Args:
        family: of the card.
        config: of timm ("architecture") or of transformers.
    """
    architecture = str(config.get("architecture", ""))[:80]
    if family == "tf_efficientnet" and architecture and not architecture.startswith("tf_"):
        return f"it is timm's {architecture}, which pads unlike TensorFlow; tf_{architecture} is this network"
    if family == "mobilenet_v4" and re.search(r"_(?:aa|blur)_", architecture):
        return f"it is timm's {architecture}, which averages or blurs where it strides"
    if family == "resnet" and re.search(r"resnet\d*(?:blur|aa)", architecture):
        return f"it is timm's {architecture}, which blurs where it strides"
    if family == "resnet" and config.get("downsample_in_bottleneck"):
        return "its config.json says downsample_in_bottleneck: its strides are not torchvision's"
    return ""


def tokens(arrays: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors of a vision transformer as timm has them, from the shapes of CLIP's and DINOv2's authors.

    CLIP's embeddings have no axis for the batch, and its projection is transposed and has no bias. With registers,
    DINOv2 has an embedding for the place of the class token, which timm adds to the token.

    Args:
        arrays: by canonical name.
        config: of the card.
    """
    found = dict(arrays)
    clip = arrays.get("pos_embed", np.zeros(0)).ndim == 2
    for name in ("cls_token", "pos_embed"):
        if name in arrays and arrays[name].ndim in (1, 2):
            found[name] = arrays[name].reshape(1, -1, arrays[name].shape[-1])
    if clip and arrays.get("head.weight", np.zeros(0)).ndim == 2 and "head.bias" not in arrays:
        found["head.weight"] = np.ascontiguousarray(arrays["head.weight"].T)
        found["head.bias"] = np.zeros(len(found["head.weight"]), found["head.weight"].dtype)
    places, token = found.get("pos_embed"), found.get("cls_token")
    if config["prefix_has_places"] or places is None or token is None or places.ndim != 3 or token.ndim != 3:
        return found
    if math.isqrt(places.shape[1]) ** 2 != places.shape[1] and token.shape == (1, 1, places.shape[2]):
        found["cls_token"], found["pos_embed"] = token + places[:, :1], np.ascontiguousarray(places[:, 1:])
    return found


def layouts(arrays: Mapping[str, np.ndarray], head: str) -> dict[str, np.ndarray]:
    """The tensors as torchvision's layers have them: dense layers as matrices, channel scales as (C, 1, 1).

    Args:
        arrays: by canonical name.
        head: canonical name of the classifier.
    """
    linear = (f"{head}.weight", "classifier.0.weight", "classifier.3.weight")
    found = dict(arrays)
    for name, array in arrays.items():
        if name in linear and array.ndim == 4:
            found[name] = array.reshape(len(array), -1)
        elif name.endswith(".layer_scale") and array.ndim == 1:
            found[name] = array[:, None, None]
    return found


def _by(rules: Rules) -> Rename:
    compiled = [(re.compile(pattern), result) for pattern, result in rules]

    def renamed(name: str) -> str:
        for pattern, result in compiled:
            if match := pattern.fullmatch(name):
                return match.expand(result)
        return name

    return renamed


def _swin(before: bool) -> Rename:
    """timm's; its versions before 0.9 and Swin's authors have the merging of patches at the end of a stage."""

    def renamed(name: str) -> str:
        if match := re.fullmatch(r"layers\.(\d)\.downsample\.(.+)", name):
            return f"features.{2 * int(match[1]) + (0 if before else 2)}.{match[2]}"
        if match := re.fullmatch(r"layers\.(\d)\.blocks\.(\d+)\.(.+)", name):
            part = match[3].replace("mlp.fc1.", "mlp.0.").replace("mlp.fc2.", "mlp.3.")
            return f"features.{2 * int(match[1]) + 1}.{match[2]}.{part}"
        outer = {"patch_embed.proj": "features.0.0", "patch_embed.norm": "features.0.2", "head.fc": "head"}
        layer, _, kind = name.rpartition(".")
        return f"{outer[layer]}.{kind}" if layer in outer else name

    return renamed


_CONVNEXT = {
    **{"conv_dw": "block.0", "norm": "block.2", "mlp.fc1": "block.3", "mlp.fc2": "block.5"},
    **{"dwconv": "block.0", "pwconv1": "block.3", "pwconv2": "block.5"},
}
_CONVNEXT_OUTER = {
    **{"stem.0": "features.0.0", "stem.1": "features.0.1", "head.norm": "classifier.0", "head.fc": "classifier.2"},
    **{"norm": "classifier.0", "head": "classifier.2"},
}


def _convnext(name: str) -> str:
    """timm's, and those of ConvNeXt's authors (facebookresearch/ConvNeXt)."""
    if match := re.fullmatch(r"stages\.(\d)\.(?:blocks\.)?(\d+)\.(.+)", name):
        layer, _, kind = match[3].rpartition(".")
        part = "layer_scale" if match[3] == "gamma" else f"{_CONVNEXT.get(layer, layer)}.{kind}"
        return f"features.{2 * int(match[1]) + 1}.{match[2]}.{part}"
    if match := re.fullmatch(r"(?:stages\.(\d)\.downsample|downsample_layers\.(\d))\.([01])\.(.+)", name):
        return f"features.{2 * int(match[1] or match[2])}.{match[3]}.{match[4]}"
    layer, _, kind = name.rpartition(".")
    return f"{_CONVNEXT_OUTER[layer]}.{kind}" if layer in _CONVNEXT_OUTER else name


def _mobilenet_v2(repeats: list[int]) -> Rename:
    """timm's, which numbers blocks by stage."""
    first = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
    later = {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "conv_pwl": "2", "bn3": "3"}
    last = sum(repeats) + 1
    outer = {"conv_stem": "features.0.0", "bn1": "features.0.1", "classifier": "classifier.1"}
    outer |= {"conv_head": f"features.{last}.0", "bn2": f"features.{last}.1"}

    def renamed(name: str) -> str:
        match = re.fullmatch(r"blocks\.(\d)\.(\d+)\.(\w+)\.(\w+)", name)
        if match and match[3] in (layers := later if match[1] != "0" else first):
            return f"features.{1 + sum(repeats[: int(match[1])]) + int(match[2])}.conv.{layers[match[3]]}.{match[4]}"
        layer, _, kind = name.rpartition(".")
        return f"{outer[layer]}.{kind}" if layer in outer else name

    return renamed


def _regnet(name: str) -> str:
    """timm's, which counts blocks from 1."""
    if match := re.fullmatch(r"s(\d)\.b(\d+)\.(conv[123]|downsample)\.(conv|bn)\.(.+)", name):
        part = {"conv1": "f.a", "conv2": "f.b", "conv3": "f.c", "downsample": "proj"}[match[3]]
        kind = 0 if match[4] == "conv" else 1
        return f"trunk_output.block{match[1]}.block{match[1]}-{int(match[2]) - 1}.{part}.{kind}.{match[5]}"
    if match := re.fullmatch(r"s(\d)\.b(\d+)\.se\.(fc[12])\.(.+)", name):
        return f"trunk_output.block{match[1]}.block{match[1]}-{int(match[2]) - 1}.f.se.{match[3]}.{match[4]}"
    return _by(_REGNET)(name)


def _resnet(name: str) -> str:
    """Those of transformers."""
    block, layer = r"(?:resnet\.)?encoder\.stages\.(\d)\.layers\.(\d+)", r"(shortcut|layer\.\d)"
    if match := re.fullmatch(rf"{block}\.{layer}\.(convolution|normalization)\.(.+)", name):
        norm = match[4] == "normalization"
        kind = int(norm) if match[3] == "shortcut" else int(match[3][-1]) + 1
        part = f"downsample.{kind}" if match[3] == "shortcut" else f"{'bn' if norm else 'conv'}{kind}"
        return f"layer{int(match[1]) + 1}.{match[2]}.{part}.{match[5]}"
    return _by(_RESNET)(name)
