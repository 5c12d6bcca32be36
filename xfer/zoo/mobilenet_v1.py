"""MobileNet: Howard et al. 2017, "Efficient Convolutional Neural Networks for Mobile Vision" (arXiv:1704.04861).

torchvision has none; layers are named as in its MobileNet v2. The weights are those of keras.applications.
"""

from __future__ import annotations

from xfer.specs.preprocessing import Preprocessing
from xfer.zoo.card import Card
from xfer.zoo.keras_applications import renamed

# (channels, stride) of each depthwise separable convolution
_LAYERS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)
_STAGES = ((1,), (2, 3), (4, 5), (6, 7, 8, 9, 10, 11), (12, 13))


def _layer(name: str) -> str:
    for kind, place in (("dw", "0"), ("pw", "1")):
        if name.startswith(f"conv_{kind}_"):
            number, _, norm = name.removeprefix(f"conv_{kind}_").partition("_")
            return f"features.{number}.{place}.{1 if norm else 0}"
    return {"conv1": "features.0.0", "conv1_bn": "features.0.1", "conv_preds": "classifier"}.get(name, name)


CARDS = (
    Card(
        name="keras_mobilenet",
        family="mobilenet_v1",
        blocks={
            "stem": ("features.0",),
            **{f"stage{i}": tuple(f"features.{n}" for n in numbers) for i, numbers in enumerate(_STAGES, 1)},
        },
        head="classifier",
        feature_dim=1024,
        preprocessing=Preprocessing(224, 256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        # Keras publishes no checksum of these files, and what can't be verified isn't fetched: give their path.
        weights=(),
        config={"layers": _LAYERS, "stem": 32},
        parameters=4_231_976,
        norm_eps=1e-3,
        norm_momentum=0.01,
        convert=renamed(_layer),
        source="https://keras.io/api/applications/ (https://arxiv.org/abs/1704.04861)",
    ),
)
