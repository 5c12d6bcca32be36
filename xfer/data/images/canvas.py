"""The size of a GIF or WebP, read before Pillow allocates memory for it.

Pillow's other readers make room when they decode, and their size can be asked for before. These two do it while they
open the file, guarded by `PIL.Image.MAX_IMAGE_PIXELS` alone, which anyone may have turned off.
"""

from __future__ import annotations

from struct import unpack_from
from typing import BinaryIO

_WEBP_HEAD = 30


def canvas(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height of the first frame and what it is drawn on; None if it is another format, or cut off.

    Reads from the current place, and comes back to it.
    """
    start = file.tell()
    try:
        head = file.read(_WEBP_HEAD)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) == _WEBP_HEAD:
            return _webp(head)
        if head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 13:
            file.seek(start + 13)
            return _gif(head, file)
        return None
    finally:
        file.seek(start)


def _webp(head: bytes) -> tuple[int, int] | None:
    """https://developers.google.com/speed/webp/docs/riff_container: three ways to say it."""
    kind = head[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    if kind == b"VP8L":
        (bits,) = unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = unpack_from("<2H", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _gif(screen: bytes, file: BinaryIO) -> tuple[int, int] | None:
    """https://www.w3.org/Graphics/GIF/spec-gif89a.txt: a frame may reach beyond the screen."""
    width, height, flags = unpack_from("<2HB", screen, 6)
    if flags & 0x80:
        file.seek(3 << ((flags & 7) + 1), 1)
    while (mark := file.read(1)) not in (b"", b";"):
        if mark == b"!":
            file.read(1)
            while size := file.read(1):
                if size == b"\0":
                    break
                file.seek(size[0], 1)
        elif mark == b",":
            frame = file.read(8)
            if len(frame) < 8:
                return None
            left, top, wide, high = unpack_from("<4H", frame)
            return max(width, left + wide), max(height, top + high)
    return width, height
