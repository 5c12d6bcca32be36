"""Every file that Pillow and libpng test their decoders with, many of them made to crash one: read or named."""

import hashlib
import json
import warnings
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from tests.suites import corpus
from tests.suites.command_line import xfer_command
from xfer.data.images.canvas import canvas
from xfer.data.images.decode import MAX_PIXELS
from xfer.data.images.formats import EXTENSIONS, FORMATS

pytestmark = pytest.mark.long
EXACT = ("1", "L", "P", "RGB", "CMYK", "RGBA", "LA")  # what Pillow makes RGB of without our help
SECONDS = 10


@pytest.fixture(scope="module", params=["pillow", "libpng"])
def files(request):
    """The folder of a corpus."""
    try:
        return {"pillow": corpus.pillow, "libpng": corpus.libpng}[request.param]()
    except LookupError as error:
        pytest.skip(f"the test files of {request.param} cannot be fetched: {error}")


@pytest.fixture(scope="module")
def plain(files):
    """What is seen without a framework."""
    return corpus.looked_at(files, "plain")


def pillow_alone(path):
    """SHA-256 of the upright RGB pixels, None of other modes; or the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                form, mode, size = image.format, image.mode, image.size
                image.load()
                shown = ImageOps.exif_transpose(image)
        except Exception as error:
            return error
        if mode not in EXACT:
            return form, size, None
        with_alpha = shown.mode == "P" and "transparency" in shown.info
        rgb = (shown.convert("RGBA") if with_alpha else shown).convert("RGB")
    digest = hashlib.sha256(f"{rgb.width} {rgb.height} ".encode() + rgb.tobytes()).hexdigest()
    return form, size, digest


def test_as_many_as_there_are(files, plain):
    listed = corpus.files_in(files)
    assert len(listed) > (1000 if "pillow" in files.name else 100)
    assert list(plain["verdicts"]) == [path.relative_to(files).as_posix() for path in listed]
    readable = [found for found in plain["verdicts"].values() if isinstance(found, list)]
    reasons = Counter(found for found in plain["verdicts"].values() if isinstance(found, str))
    assert len(listed) == len(readable) + reasons.total()
    assert len(readable) > len(listed) / 4
    for reason in reasons:
        assert reason.isprintable()
        assert reason == reason.strip() != ""
    slowest = max(plain["seconds"], key=plain["seconds"].get)
    print(f"\n{files.name}: {len(listed)} files, {len(readable)} readable, {reasons.total()} named with a reason")
    print(f"slowest {slowest}: {plain['seconds'][slowest]:.2f} s; peak memory {plain['peak']:.0f} MiB")
    for reason, count in reasons.most_common():
        print(f"{count:5} {reason}")


def test_none_takes_long_or_much_memory(plain):
    assert max(plain["seconds"].values()) < SECONDS
    assert plain["peak"] < 2048


@pytest.mark.parametrize("how", ["torch", "tensorflow", "isolated"])
def test_the_same_beside_a_framework_and_in_isolation(files, plain, how):
    found = corpus.looked_at(files, how)
    assert found["verdicts"] == plain["verdicts"]
    assert max(found["seconds"].values()) < SECONDS
    assert found["peak"] < 4096  # a framework alone takes half a GiB
    print(f"\n{files.name}, {how}: peak memory {found['peak']:.0f} MiB, slowest {max(found['seconds'].values()):.2f} s")


def test_the_verdicts_are_those_of_pillow_alone(files, plain):
    """What it reads of the nine formats is read, with its very pixels; what it cannot read is named."""
    compared = 0
    for name, verdict in plain["verdicts"].items():
        found = pillow_alone(files / name)
        if isinstance(found, Exception) or found[0] not in (*FORMATS, "MPO"):
            assert isinstance(verdict, str), name
        elif isinstance(verdict, str):
            assert "no known scale" in verdict or found[1][0] * found[1][1] > MAX_PIXELS, (name, verdict)
        elif found[2] is not None:
            assert verdict[0] == found[2], name
            compared += 1
        with (files / name).open("rb") as file:
            if isinstance(found, tuple) and found[0] in ("GIF", "WEBP"):
                assert canvas(file) == found[1], name
    assert compared > len(plain["verdicts"]) / 5


def test_training_would_survive_them(files, plain):
    """A loader reads what inspection does, but for images too long and thin for the size of the network."""
    loaded = corpus.looked_at(files, "loader")
    for name, found in loaded["verdicts"].items():
        verdict = plain["verdicts"][name]
        expected = verdict if isinstance(verdict, str) else "read"
        assert found == expected or found.startswith("too long and thin"), name
    assert loaded["peak"] < 4096
    print(f"\n{files.name}, loader with two threads: peak memory {loaded['peak']:.0f} MiB")


def test_the_command(files, plain, tmp_path):
    """`xfer inspect --isolate` with the corpus as a class folder: listed, read and named add up."""
    (tmp_path / "ant").symlink_to(files)
    (tmp_path / "bee").mkdir()
    for path in corpus.files_in(files)[:50]:  # whatever they are, they have an image's extension
        (tmp_path / "bee" / f"{path.name}.png").symlink_to(path)
    result = xfer_command("inspect", tmp_path, "--isolate", "--json")
    assert result.returncode == 0, result.stderr
    splits = json.loads(result.stdout)["splits"].values()
    reasons = {bad["name"]: bad["reason"] for split in splits for bad in split["unreadable"]}
    with_extension = [name for name in plain["verdicts"] if Path(name).suffix.lower() in EXTENSIONS]
    assert sum(split["listed"] for split in splits) == len(with_extension) + 50
    assert sum(split["readable"] for split in splits) + len(reasons) == len(with_extension) + 50
    for name in with_extension:
        verdict = plain["verdicts"][name]
        assert reasons.get(f"ant/{name}") == (verdict if isinstance(verdict, str) else None)
