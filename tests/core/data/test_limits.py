"""Files made to fill the memory, or to change what is read by what others have set in Pillow."""

import io
import json
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from xfer.data import inspect
from xfer.data.images.decode import MAX_BYTES, MAX_PIXELS, BadImageError, decode

LIMITED = """
import json, resource, sys
from pathlib import Path
from PIL import Image
from xfer.data.images.probe import look
Image.MAX_IMAGE_PIXELS = None
pages = int(Path("/proc/self/statm").read_text().split()[0])
most = pages * resource.getpagesize() + 300 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
found = {path.name: look(path) for path in sorted(Path(sys.argv[1]).iterdir())}
print(json.dumps({name: reason if isinstance(reason, str) else "readable" for name, reason in found.items()}))
"""


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, *chunks):
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def gif(width, height):
    """A frame of this size on a screen of one pixel, to be cleared afterwards, for which Pillow makes room at once."""
    cleared = b"!\xf9\x04\x08\0\0\0\0"
    return (
        b"GIF89a" + struct.pack("<2H3B", 1, 1, 0, 0, 0) + cleared + b"," + struct.pack("<4HB", 0, 0, width, height, 0)
        + b"\x02\x02\x4c\x01\0;"
    )  # fmt: skip


def webp(width, height):
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    still = io.BytesIO()
    Image.new("RGB", (1, 1)).save(still, "WEBP")
    body = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas + still.getvalue()[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff_of_one_place(tags, size):
    """A TIFF whose tags all say that their `size` bytes are the same ones, at its end."""
    start = 8 + 2 + 12 * (tags + 3) + 4
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), *((1000 + i, 1, size, start) for i in range(tags)), (65535, 3, 1, 1)]
    packed = b"".join(struct.pack("<2H2I", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4 + size)


def jpeg(width, height):
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    content = bytearray(file.getvalue())
    struct.pack_into(">2H", content, content.index(b"\xff\xc0") + 5, height, width)
    return bytes(content)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the memory of a process")
def test_no_file_takes_more_memory_than_its_pixels(tmp_path):
    """300 MiB for all of them, where each asks for more than 1 GiB, and Pillow's own limit is turned off."""
    big = io.BytesIO()
    Image.new("1", (20000, 20000)).save(big, "TIFF", compression="group4")
    files = {
        "a.png": png(20000, 20000),
        "b.gif": gif(65535, 65535),
        "c.webp": webp(2**24, 255),
        "d.jpg": jpeg(65500, 65500),
        "e.tif": big.getvalue(),
        "f.bmp": b"BM" + struct.pack("<I4xI IiiHHI", 54, 54, 40, 2**30, -(2**30), 1, 24, 0) + bytes(20),
        "g.pgm": b"P5 999999999 999999999 255\n",
        "h.png": png(1, 1, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**28)))),
        "i.png": png(1, 1, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20 - 9)))] * 999),
        "j.tif": tiff_of_one_place(50_000, 2**20),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert len(content) < 3 * 2**20
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", LIMITED, tmp_path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found.keys() == files.keys()
    assert found["a.png"] == "too many pixels: 400,000,000, of at most 178,956,970; save it smaller"
    for name in ("b.gif", "c.webp", "d.jpg", "e.tif", "f.bmp", "g.pgm"):
        assert found[name].startswith("too many pixels: "), (name, found[name])
    for name in ("h.png", "i.png", "j.tif"):
        assert found[name].startswith("damaged"), (name, found[name])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_largest_image_that_is_read_is_named_by_its_header():
    """One pixel more is refused for its size, and this one only because no pixels follow."""
    width, height = 12785, 13997
    assert width * height <= MAX_PIXELS < (width + 1) * height
    with pytest.raises(BadImageError, match="damaged: "):
        decode(png(width, height))
    with pytest.raises(BadImageError, match="too many pixels: 178,965,642, of at most 178,956,970; save it smaller"):
        decode(png(width + 1, height))


def test_a_limit_of_pillow_that_is_lower_counts_too(photo, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BadImageError, match="too many pixels: 1,920, of at most 200; save it smaller"):
        decode(encoded(photo(), "PNG"))


def test_a_picture_of_a_file_that_is_not_yet_decoded_has_the_same_limit(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(BadImageError, match="too many pixels: 400,000,000"):
        decode(Image.open(io.BytesIO(png(20000, 20000))))


def test_long_files_are_not_read(tmp_path):
    path = tmp_path / "long.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # takes no room on the disk
    with pytest.raises(BadImageError, match="too long: 2,147,483,649 bytes, of at most 2,147,483,648; save it smaller"):
        decode(path)


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_warnings_that_are_errors_change_no_pixel(photo, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = exif.tobytes()
    files = {
        "palette": encoded(photo().quantize(16), "PNG", transparency=bytes([0, 128] + [255] * 14)),
        "exif": encoded(photo(), "JPEG", exif=turned[:-4] + b"\xff\xff\xff\xff"),
        "cut exif": encoded(photo(), "JPEG", exif=turned[:-8]),
        "tags": encoded(photo(), "TIFF")[:-3],
        "large": encoded(photo(size=(60, 60)), "GIF"),
    }
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    expected, warned = {}, 0
    for name, content in files.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            expected[name] = reading(content)
        warned += bool(caught)
    assert warned >= 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {name: reading(content) for name, content in files.items()} == expected
        found = inspect([(content, i % 2) for i, content in enumerate([*files.values()] * 2)], val=0)
    assert found.splits["train"].readable == 2 * sum(isinstance(pixels, bytes) for pixels in expected.values())
    assert sum(isinstance(pixels, bytes) for pixels in expected.values()) >= 4


def reading(content):
    try:
        return decode(content).tobytes()
    except BadImageError as bad:
        return bad.reason


def test_a_file_that_is_cut_off_while_it_is_read(tmp_path, monkeypatch):
    """Pillow would map an uncompressed file into memory, and touching what is no longer there ends the process."""
    path = tmp_path / "a.ppm"
    Image.fromarray(np.zeros((500, 500, 3), np.uint8)).save(path)
    real = ImageFile.ImageFile.load

    def load(self):
        with path.open("r+b") as file:
            file.truncate(5000)
        return real(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(BadImageError, match="damaged: image file is truncated"):
        decode(path)


def test_nothing_is_set_in_pillow():
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert Image.MAX_IMAGE_PIXELS == MAX_PIXELS // 2
