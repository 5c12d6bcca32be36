"""A contact sheet: pictures with captions in rows, as one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xfer.runtime.text import one_line

SIDE = 160  # pixels of an image's longer side
_CAPTION, _GAP = 18, 8


def contact_sheet(rows: Sequence[Sequence[tuple[Image.Image | np.ndarray, str]]]) -> Image.Image:
    """Rows of pictures with captions on one white sheet."""
    step = SIDE + _GAP
    width = _GAP + step * max((len(row) for row in rows), default=1)
    sheet = Image.new("RGB", (width, _GAP + (step + _CAPTION) * max(len(rows), 1)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for down, row in enumerate(rows):
        for across, (picture, caption) in enumerate(row):
            image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture.copy()
            factor = SIDE / max(image.size)
            size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
            image = image.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BILINEAR)
            left, top = _GAP + across * step, _GAP + down * (step + _CAPTION)
            sheet.paste(image, (left, top))
            draw.text((left, top + SIDE + 2), one_line(caption, 26), fill="black", font=font)
    return sheet
