"""A published set of weights: its source, its hash, its accuracy."""

from __future__ import annotations

from dataclasses import dataclass

TORCHVISION = "https://download.pytorch.org/models"


@dataclass(frozen=True)
class WeightsEntry:
    """One published set of weights: a file at a URL, a file inside a package, or `model.safetensors` on the hub.

    Args:
        name: such as "IMAGENET1K_V2".
        url: where the file is; None for a package and for the hub.
        digest: SHA-256 in hex, or its first 8 digits or more, as torchvision's file names carry them; or "md5:"
            and an MD5; empty for the hub, which gives a digest with the file.
        package: name of the distribution on the package index that carries the file.
        member: glob of the file's name within the package.
        acc1: published ImageNet top-1 accuracy in percent.
        repo: the repository on the hub, "owner/name".
        licence: identifier of the hub, such as "apache-2.0", where the publisher gives one with the weights.
        features_only: whether there is no head of classes: a new one is needed.
    """

    name: str
    url: str | None
    digest: str
    package: str | None = None
    member: str | None = None
    acc1: float | None = None
    repo: str | None = None
    licence: str | None = None
    features_only: bool = False

    @classmethod
    def torchvision(cls, name: str, file: str, acc1: float) -> WeightsEntry:
        """The entry of an official file of torchvision, by its name without ".pth", which ends with the hash."""
        return cls(name, f"{TORCHVISION}/{file}.pth", file.rpartition("-")[2], acc1=acc1)
