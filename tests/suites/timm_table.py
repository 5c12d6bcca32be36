"""What timm's package data say of networks in the zoo: `python -m tests.suites.timm_table` writes it into tables.

The cards are made from the tables, and a test compares them with the installed timm.
"""

import json
import math
import re
import sys
from pathlib import Path
from unittest import mock

import timm
import torch
from timm.models import convnext, deit, efficientnet, eva, mobilenetv3, resnet, vision_transformer
from timm.models._registry import _model_with_tags, get_pretrained_cfg

ZOO = Path(__file__).parents[2] / "xfer/zoo"

_SIZES = ("tiny", "small", "base", "large")
VITS = [
    *(f"vit_{size}_patch{patch}_{pixels}" for size in _SIZES for patch in (32, 16, 8) for pixels in (224, 384)),
    *(f"deit_{size}_patch16_{pixels}" for size in _SIZES for pixels in (224, 384)),
    *(f"deit3_{size}_patch16_{pixels}" for size in ("small", "medium", "base", "large") for pixels in (224, 384)),
    *(f"vit_{size}_patch14_{registers}dinov2" for size in _SIZES for registers in ("", "reg4_")),
    *(f"vit_base_patch32_clip_{pixels}" for pixels in ("224", "256", "384", "448", "quickgelu_224")),
    *(f"vit_base_patch16_{kind}" for kind in ("clip_224", "clip_quickgelu_224", "plus_clip_240")),
    *(f"vit_large_patch14_clip_{kind}" for kind in ("224", "quickgelu_224", "quickgelu_336")),
    *(f"vit_base_patch16_siglip_{pixels}" for pixels in (224, 256, 384, 512)),
    *("vit_base_patch32_siglip_256", "vit_base_patch16_siglip_gap_224"),
    *(f"vit_large_patch16_siglip_{pixels}" for pixels in (256, 384, 512)),
    *(f"vit_{size}_patch16_reg1_gap_256" for size in ("wee", "medium")),
    *(f"vit_{size}_patch16_reg4_gap_256" for size in ("little", "medium", "mediumd", "betwixt")),
    *(f"vit_medium_patch16_gap_{pixels}" for pixels in (256, 384)),
]
EVAS = [
    *(f"eva02_{size}_patch14_{pixels}" for size in _SIZES for pixels in (224, 336, 448)),
    *("eva02_base_patch16_clip_224", "eva02_large_patch14_clip_224", "eva02_large_patch14_clip_336"),
]
NAMES = {
    "timm_vit": VITS,
    "eva02": EVAS,
    "convnext_v2": [f"convnextv2_{size}" for size in ("atto", "femto", "pico", "nano", "tiny", "base", "large")],
    "tf_efficientnet": [
        *(f"tf_efficientnet_b{i}" for i in range(9)),
        *(f"tf_efficientnetv2_{size}" for size in ("b0", "b1", "b2", "b3", "s", "m", "l")),
    ],
    "resnet_d": [
        *(f"resnet{depth}d" for depth in (18, 26, 34, 50, 101, 152, 200)),
        *(f"resnetrs{depth}" for depth in (50, 101, 152, 200, 270, 350, 420)),
    ],
    "mobilenet_v4": [
        *(f"mobilenetv4_conv_{size}" for size in ("small_050", "small", "medium", "large")),
        *(f"mobilenetv4_hybrid_{size}" for size in ("medium", "large")),
    ],
}
# Of these families the tests of `make test` take those with other switches; the rest differs in numbers alone.
_QUICK = {"eva02_tiny_patch14_224", "eva02_base_patch14_448", "eva02_base_patch16_clip_224"}
_QUICK |= {"tf_efficientnet_b0", "tf_efficientnetv2_b0", "mobilenetv4_conv_small_050", "mobilenetv4_hybrid_medium"}
_QUICK |= {"resnet18d", "resnet26d", "resnetrs50"}
SLOW = {name for family in ("eva02", "tf_efficientnet", "mobilenet_v4", "resnet_d") for name in NAMES[family]} - _QUICK
# Networks that torchvision has too: their weights alone.
WEIGHTS = [
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    *(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
]
_CREATORS = (
    (deit, "_create_deit"),
    (vision_transformer, "_create_vision_transformer"),
    (convnext, "_create_convnext"),
    (eva, "_create_eva"),
    (efficientnet, "_create_effnet"),
    (mobilenetv3, "_create_mnv3"),
    (resnet, "_create_resnet"),
)
TABLES = (*NAMES, "timm_weights")
_EPS = re.compile(r"eps=([\d.e-]+)")


def arguments(name):
    """What timm's function of that name gives its class."""
    module, creator = next(pair for pair in _CREATORS if hasattr(pair[0], name))
    if module in (efficientnet, mobilenetv3):
        return block_arguments(module, creator, name)
    with mock.patch.object(module, creator) as create:
        getattr(module, name)()
    found = {key: value for key, value in create.call_args.kwargs.items() if key != "pretrained"}
    if module is convnext:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
    if module is resnet:
        assert (found.pop("stem_type"), found.pop("avg_down"), found.pop("stem_width")) == ("deep", True, 32)
        squeeze = found.pop("block_args", {}).get("attn_layer")
        assert squeeze is None or (squeeze.func.__name__, squeeze.keywords) == ("SEModule", {"rd_ratio": 0.25})
        bottleneck = found.pop("block") is resnet.Bottleneck
        return found | {"layers": list(found["layers"]), "bottleneck": bottleneck, "squeeze": squeeze is not None}
    if module is eva:
        assert (found.pop("ref_feat_shape"), found.pop("use_rot_pos_emb")) == ((16, 16), True)
        return {key: value for key, value in found.items() if key != "img_size"} | {"eps": 1e-6}
    norm, act = found.pop("norm_layer", None), found.pop("act_layer", None)
    found["eps"] = float(_EPS.search(repr(norm))[1]) if norm else 1e-6
    if act:
        found["act"] = act if isinstance(act, str) else act.__name__
    return found


def block_arguments(module, creator, name):
    """timm's strings of blocks with its multipliers of width and depth applied, and what else its class is given."""
    with (
        mock.patch.object(module, creator) as create,
        mock.patch.object(module, "decode_arch_def", wraps=module.decode_arch_def) as decode,
    ):
        getattr(module, name)()
    found, (stages, *multiplier) = create.call_args.kwargs, decode.call_args.args
    depth, width = multiplier[0] if multiplier else 1.0, found["round_chs_fn"]
    assert depth == 1 or all(len(stage) == 1 for stage in stages)

    def scaled(block):
        block = re.sub(r"(?<=_c)\d+", lambda match: str(width(int(match[0]))), block)
        return re.sub(r"(?<=_r)\d+", lambda match: str(math.ceil(int(match[0]) * depth)), block)

    pad, norm, layer_scale = (found.get(key) for key in ("pad_type", "norm_layer", "layer_scale_init_value"))
    assert pad == ("same" if name.startswith("tf_") else None)
    row = {
        "stages": [[scaled(block) for block in stage] for stage in stages],
        "stem_size": found["stem_size"] if found.get("fix_stem") else width(found["stem_size"]),
        "num_features": found["num_features"],
        "act": found["act_layer"].__name__.lower(),
        "eps": norm.keywords.get("eps", 1e-5),
    }
    assert norm.keywords.keys() <= {"eps"}
    return row | ({"init_values": layer_scale} if layer_scale else {})


def weights(tag):
    """A row of the table; nothing for what is not on the hub, has no licence, or was trained for another activation."""
    theirs = get_pretrained_cfg(tag)
    native_of_another = any("quickgelu variant" in note for note in theirs.notes or ()) and "quickgelu" not in tag
    if not theirs.hf_hub_id or not theirs.license or native_of_another:
        return None
    size = theirs.input_size[-1]
    return {
        "repo": theirs.hf_hub_id,
        "licence": theirs.license,
        "outputs": theirs.num_classes,
        "size": size,
        "resize": math.floor(size / theirs.crop_pct),
        "interpolation": theirs.interpolation,
        "mean": list(theirs.mean),
        "std": list(theirs.std),
        **({"squash": True} if theirs.crop_mode == "squash" else {}),
    }


def rows_of(name):
    """The weights of an architecture by tag, timm's default first."""
    return {tag.partition(".")[2]: row for tag in _model_with_tags[name] if (row := weights(tag))}


def table(family):
    """By name: arguments, parameters with ImageNet's head, and weights."""
    if family == "timm_weights":
        return {name: {"weights": rows_of(name)} for name in WEIGHTS}
    found = {}
    for name in NAMES[family]:
        if not timm.is_model(name):
            continue
        rows = rows_of(name)
        if not rows:
            continue
        sized = {"img_size": next(iter(rows.values()))["size"]} if family in ("timm_vit", "eva02") else {}
        with torch.device("meta"):
            net = timm.create_model(name, num_classes=1000, **sized)
        parameters = sum(parameter.numel() for parameter in net.parameters())
        found[name] = {"arguments": arguments(name), "parameters": parameters, "weights": rows}
    return found


def main():
    for family in sys.argv[1:] or TABLES:
        lines = []
        for name, row in table(family).items():
            rows = ",\n".join(f"   {json.dumps(tag)}: {json.dumps(entry)}" for tag, entry in row["weights"].items())
            head = "".join(f'"{key}": {json.dumps(row[key])},\n  ' for key in ("arguments", "parameters") if key in row)
            lines.append(f' {json.dumps(name)}: {{\n  {head}"weights": {{\n{rows}\n  }}\n }}')
        (ZOO / f"{family}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
