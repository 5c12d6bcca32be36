"""The image formats that are read, and what other files are, by their first bytes."""

from __future__ import annotations

# A format is read if it has a signature, its decoder starts no program and follows no reference to another file, and
# people keep photographs in it. So not EPS (runs Ghostscript), nor FPX, MIC, WMF or the stubs; not TGA, which random
# bytes can look like; not ICO, ICNS, PSD, DDS and other containers of what programs draw.
EXTENSIONS_OF = {
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),  # a camera's MPO is a JPEG that has more behind it
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
FORMATS = tuple(EXTENSIONS_OF)
EXTENSIONS = frozenset(extension for some in EXTENSIONS_OF.values() for extension in some)
HEAD = 512  # bytes that tell what a file is

_BEGINNINGS = (
    ("AVIF", 4, (b"ftypavif", b"ftypavis")),
    ("BMP", 0, (b"BM",)),
    ("GIF", 0, (b"GIF87a", b"GIF89a")),
    ("JPEG", 0, (b"\xff\xd8\xff",)),
    ("JPEG2000", 0, (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n")),
    ("PNG", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("PPM", 0, tuple(b"P%c%c" % (kind, space) for kind in b"123456fF" for space in b" \t\r\n")),
    ("TIFF", 0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)
_OTHER_PICTURES = (
    ("a HEIC file", 4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")),
    ("a JPEG XL file", 0, (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")),
    ("a PostScript file (EPS)", 0, (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    ("a PDF file", 0, (b"%PDF",)),
    ("a Photoshop file (PSD)", 0, (b"8BPS",)),
    ("a Windows metafile (WMF, EMF)", 0, (b"\xd7\xcd\xc6\x9a\0\0", b"\x01\0\0\0l\0\0\0", b"\x01\0\0\0X\0\0\0")),
    ("an icon (ICO)", 0, (b"\0\0\1\0",)),
    ("a TGA file or a cursor (CUR)", 0, (b"\0\0\2\0",)),
    ("a TGA file", 0, (b"\0\0\3\0", b"\0\0\x0a\0", b"\0\0\x0b\0", b"\0\1\1\0", b"\0\1\x09\0")),
    ("an icon (ICNS)", 0, (b"icns",)),
    ("a DDS texture", 0, (b"DDS ",)),
    ("a BLP texture", 0, (b"BLP1", b"BLP2")),
    ("an FTEX texture", 0, (b"FTEX", b"FTU")),
    ("a FITS file", 0, (b"SIMPLE  =",)),
    ("a QOI file", 0, (b"qoif",)),
    ("an SGI file", 0, (b"\x01\xda",)),
    ("a Sun raster file", 0, (b"\x59\xa6\x6a\x95",)),
    ("an XPM file", 0, (b"/* XPM",)),
    ("an SVG file", 0, (b"<svg",)),
    ("an FLI animation", 4, (b"\x11\xaf", b"\x12\xaf")),
    ("an OLE document (FlashPix, MIC, Office)", 0, (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",)),
)
_NO_PICTURES = (
    ("an HTML page", 0, (b"<!doctype html", b"<html")),
    ("an XML file", 0, (b"<?xml",)),
    ("a video", 4, (b"ftyp",)),
    ("a video", 0, (b"\0\0\1\xba", b"\0\0\1\xb3", b"\x1aE\xdf\xa3")),
    ("a zip archive", 0, (b"PK\3\4",)),
    ("a gzip archive", 0, (b"\x1f\x8b\x08",)),
    ("a GRIB file", 0, (b"GRIB",)),
    ("a BUFR file", 0, (b"BUFR",)),
    ("an HDF5 file", 0, (b"\x89HDF\r\n\x1a\n",)),
)


def why_not(head: bytes) -> str:
    """Why no image could be opened, from the first `HEAD` bytes of the file."""
    name = "WEBP" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else _begins_as(head, _BEGINNINGS)
    if name:
        return f"damaged, or of an unknown kind: it begins like {name}, but its header cannot be read"
    if name := _begins_as(head, _OTHER_PICTURES):
        return f"{name}, which xfer does not read: save it as PNG or JPEG"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if name := _begins_as(head, _NO_PICTURES) or _begins_as(text, _NO_PICTURES):
        return f"{name}, not an image"
    if not any(head):
        return "nothing but zeros, as after a download or copy that broke off"
    return "not an image that xfer can read"


def _begins_as(head: bytes, known: tuple[tuple[str, int, tuple[bytes, ...]], ...]) -> str | None:
    return next((name for name, at, signatures in known if head.startswith(signatures, at)), None)
