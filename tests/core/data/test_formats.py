"""Which files are read at all, and what is said of the others."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from xfer.data.images.canvas import canvas
from xfer.data.images.decode import BadImageError, decode
from xfer.data.images.formats import EXTENSIONS, FORMATS, why_not

REFUSED = {
    "EPS": "a PostScript file (EPS), which xfer does not read: save it as PNG or JPEG",
    "ICO": "an icon (ICO), which xfer does not read: save it as PNG or JPEG",
    "ICNS": "an icon (ICNS), which xfer does not read: save it as PNG or JPEG",
    "DDS": "a DDS texture, which xfer does not read: save it as PNG or JPEG",
    "SGI": "an SGI file, which xfer does not read: save it as PNG or JPEG",
    "QOI": "a QOI file, which xfer does not read: save it as PNG or JPEG",
    "TGA": "a TGA file or a cursor (CUR), which xfer does not read: save it as PNG or JPEG",
    "PDF": "a PDF file, which xfer does not read: save it as PNG or JPEG",
    "PCX": "not an image that xfer can read",
    "IM": "not an image that xfer can read",
}


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_formats_that_are_read_whatever_the_name(tmp_path, photo, form):
    path = tmp_path / "picture.txt"
    path.write_bytes(encoded(photo(), form))
    with Image.open(path) as image:
        assert image.format == form
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(decode(path)), expected)
    np.testing.assert_array_equal(np.asarray(decode(path.read_bytes())), expected)


@pytest.mark.parametrize("form", REFUSED)
def test_formats_that_are_refused_by_name(photo, form):
    image = photo(size=(64, 64)).quantize(16).convert("RGB")
    content = encoded(image, form)
    with pytest.raises(BadImageError) as error:
        decode(content)
    assert error.value.reason == REFUSED[form]
    if form in ("EPS", "ICO", "DDS", "SGI", "QOI"):  # nor may what others opened be decoded here
        with pytest.raises(BadImageError, match=rf"of format {form}, which xfer does not read: hand over a copy\(\)"):
            decode(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xef\xbb\xbf\r\n <!DOCTYPE HTML><title>404</title>", "an HTML page, not an image"),
        (b"PK\x03\x04" + bytes(50), "a zip archive, not an image"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "a HEIC file, which xfer does not read: save it as PNG or JPEG"),
        (b"\0\0\0\x18ftypisom" + bytes(50), "a video, not an image"),
        (bytes(4096), "nothing but zeros, as after a download or copy that broke off"),
        (b"I am no image", "not an image that xfer can read"),
        (b"\x89PNG\r\n\x1a\n" + b"?" * 90, "damaged, or of an unknown kind: it begins like PNG, "),
        (b"RIFF\x20\0\0\0WEBPVP9 " + bytes(50), "damaged, or of an unknown kind: it begins like WEBP, "),
    ],
)
def test_what_is_said_of_other_files(tmp_path, content, reason):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(BadImageError) as error:
        decode(path)
    assert error.value.reason.startswith(reason)
    assert error.value.reason.startswith(why_not(content)[: len(reason)])


def test_every_extension_is_one_that_pillow_has_for_a_format_that_is_read():
    Image.init()
    known = Image.registered_extensions()
    assert {known[extension] for extension in EXTENSIONS - {".mpo"}} == set(FORMATS)
    assert known[".mpo"] == "MPO"


def test_no_other_reader_is_imported_and_no_program_run(tmp_path, photo):
    photo().save(tmp_path / "a.eps")
    photo().save(tmp_path / "b.png")
    script = (
        "import json, sys; seen = []\n"
        "sys.addaudithook(lambda event, _: seen.append(event))\n"
        "from pathlib import Path; from xfer.data.images.probe import look\n"
        f"found = [look(path) for path in sorted(Path({str(tmp_path)!r}).iterdir())]\n"
        "others = [name for name in sys.modules if name in ('PIL.EpsImagePlugin', 'PIL.FpxImagePlugin')]\n"
        "started = [event for event in seen if event.split('.')[0] in ('subprocess', 'os') and"
        " event in ('subprocess.Popen', 'os.exec', 'os.fork', 'os.posix_spawn', 'os.system')]\n"
        "print(json.dumps([isinstance(found[0], str), isinstance(found[1], str), others, started, len(seen) > 9]))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == [True, False, [], [], True]


@pytest.mark.parametrize("size", [(9, 7), (300, 1), (1, 300)])
def test_a_canvas_is_what_pillow_says(size):
    pictures = [Image.new("RGB", size, colour) for colour in ("red", "blue")]
    files = {
        "still.gif": encoded(pictures[0], "GIF"),
        "moving.gif": encoded(pictures[0], "GIF", save_all=True, append_images=pictures[1:], comment=b"x" * 999),
        "lossy.webp": encoded(pictures[0], "WEBP"),
        "lossless.webp": encoded(pictures[0], "WEBP", lossless=True),
        "moving.webp": encoded(pictures[0], "WEBP", save_all=True, append_images=pictures[1:]),
    }
    frame = bytearray(files["still.gif"])
    frame[frame.index(b",\0\0\0\0") + 1] = 5  # the frame lies five pixels to the right, beyond the screen
    files["beyond.gif"] = bytes(frame)
    assert {files["lossy.webp"][12:16], files["lossless.webp"][12:16], files["moving.webp"][12:16]} == {
        b"VP8 ",
        b"VP8L",
        b"VP8X",
    }
    for name, content in files.items():
        file = io.BytesIO(b"before" + content)
        file.seek(6)
        assert canvas(file) == Image.open(io.BytesIO(content)).size, name
        assert file.tell() == 6
        for end in range(len(content)):  # cut off anywhere it says a size or nothing, and ends
            canvas(io.BytesIO(content[:end]))
    assert canvas(io.BytesIO(files["beyond.gif"])) == (size[0] + 5, size[1])
    assert canvas(io.BytesIO(encoded(pictures[0], "PNG"))) is None
