"""A sealed document is as it was sealed, or refused."""

import hashlib
import json

import pytest

from xfer.errors import CheckpointError
from xfer.runtime import checksums

DOCUMENT = {"format": 2, "rates": {"head": 0.001}, "classes": ["ant", "bée"], "step": 17}


def test_the_seal_is_the_hash_of_the_bytes_with_zeros_in_its_place():
    content = checksums.with_checksum(DOCUMENT)
    found = json.loads(content)
    digits = found.pop("sha256")
    assert found == DOCUMENT == checksums.without_checksum(content)
    assert digits == hashlib.sha256(content.replace(digits.encode(), b"0" * 64)).hexdigest()


def test_every_bit_and_every_cut_is_seen(tmp_path):
    content, path = checksums.with_checksum(DOCUMENT), tmp_path / "x.json"
    path.write_bytes(content)
    assert checksums.read(path, 2) == DOCUMENT
    damaged = [content[:length] for length in range(len(content))] + [content + b"\n", b" " + content]
    for at in range(len(content)):
        damaged += [content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :] for bit in range(8)]
        damaged += [content[:at] + bytes([byte]) + content[at + 1 :] for byte in b'0123456789abcdef "'[: 2 + at % 17]]
    for bad in set(damaged) - {content}:
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match="is damaged"):
            checksums.read(path, 2)


def test_documents_from_before_there_was_a_seal(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"format": 1, "step": 17}))
    assert checksums.read(path, 2) == {"format": 1, "step": 17}
    for text in ('{"format": 2}', '{"format": 1, "sha256": "0"}', '{"format": 0}', '{"format": true}', '{"step": 1}'):
        path.write_text(text)
        with pytest.raises(CheckpointError):
            checksums.read(path, 2)


def test_what_is_no_number_is_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        checksums.with_checksum({"format": 2, "rate": float("inf")})
