"""Suspected images as files: the page `labels.html`, on which labels are corrected, and `suspects.csv`."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xfer.data import Data
from xfer.data.audit.duplicates import Place
from xfer.data.audit.near import NearDuplicates
from xfer.data.audit.quality import QualityIssue
from xfer.data.images.decode import BadImageError, decode
from xfer.evaluation.label_issues import LabelIssues
from xfer.report.compare import require_libraries
from xfer.report.template import fill
from xfer.report.thumbnails import data_uri
from xfer.runtime.files import write_atomically, writing_into

MOST = 300  # cards in a section of the page, or groups
MOST_OF_A_GROUP = 12
NAMED = 3  # other images of a group in the table
PAGE, TABLE = "labels.html", "suspects.csv"
COLUMNS = ("image", "label", "action", "split", "suggested", "score", "reasons")


@dataclass
class Suspect:
    """One image, and why it deserves a second look.

    Args:
        place: the image.
        suggested: another class, if its label is suspected.
        score: probability of the given label, if its label is suspected.
        reasons: in words.
    """

    place: Place
    suggested: str | None = None
    score: float | None = None
    reasons: list[str] = field(default_factory=list)


def require_page() -> None:
    """Assert that what the page is made with is installed.

    Raises:
        XferError: it is not; the message names the extra.
    """
    require_libraries(["jinja2"])


def write(found: LabelIssues, data: Data, folder: Path) -> None:
    """Write `labels.html` and `suspects.csv`.

    Args:
        found: in this data.
        data: the images.
        folder: that exists.

    Raises:
        XferError: jinja2 is missing. CheckpointError: the folder cannot be written into.
    """
    require_page()
    suspects = collect(found)
    with writing_into(folder):
        write_atomically(folder / TABLE, table(suspects, correctable(data)))
        write_atomically(folder / PAGE, render(found, data, suspects))


def collect(found: LabelIssues) -> list[Suspect]:
    """Each image that is suspected for any reason once, in the order of the sections of the page."""
    suspects: dict[tuple[str, str], Suspect] = {}

    def suspect(place: Place, reason: str) -> Suspect:
        each = suspects.setdefault((place.split, place.name), Suspect(place))
        each.reasons.append(reason)
        return each

    for error in found.label_errors:
        task = f" (task {error.task})" if error.task else ""
        each = suspect(error.place, f"label{task}")
        if each.suggested is None:
            each.place, each.suggested, each.score = error.place, error.suggested, error.score
    for group in found.near_duplicates:
        number = Counter(group.places)
        for place in group.places:
            suspect(place, f"near-duplicate of {_others(group, place, len(group.places) - number[place])}")
    for outlier in found.outliers:
        suspect(outlier.place, "outlier")
    for issue in found.quality:
        suspect(issue.place, issue.issue)
    return list(suspects.values())


def _others(group: NearDuplicates, place: Place, number: int) -> str:
    """The other images of a group, so many, of which the first are named: not all for each of a million copies."""
    names = islice((other.name for other in group.places if other != place), NAMED)
    more = f" and {number - NAMED} more" if number > NAMED else ""
    return ", ".join(names) + more


def correctable(data: Data) -> tuple[str, ...]:
    """The classes that corrections can give; none where several tasks have classes."""
    single = [task for task in data.tasks if task.kind == "single-label"]
    return data.classes if not data.tasks or len(single) == 1 else ()


def table(suspects: Iterable[Suspect], classes: Sequence[str]) -> bytes:
    """The suspects as CSV, which is a file of corrections that changes nothing until an action is changed."""
    text = io.StringIO(newline="")
    out = csv.writer(text)
    out.writerow(COLUMNS)
    for each in suspects:
        score = "" if each.score is None else f"{each.score:.6f}"
        label, reasons = each.place.label if each.place.label in classes else "", "; ".join(each.reasons)
        out.writerow([each.place.name, label, "keep", each.place.split, each.suggested or "", score, reasons])
    return text.getvalue().encode("utf-8", "surrogateescape")


def render(found: LabelIssues, data: Data, suspects: Sequence[Suspect]) -> bytes:
    """The page as UTF-8."""
    classes = correctable(data)
    cards = _Cards(data, {(each.place.split, each.place.name): i for i, each in enumerate(suspects)}, classes)
    errors = [(cards.of(each.place, each.suggested), each) for each in found.label_errors[:MOST]]
    groups = [
        ([cards.of(place) for place in group.places[:MOST_OF_A_GROUP]], group) for group in found.near_duplicates[:MOST]
    ]
    outliers = [(cards.of(each.place), each) for each in found.outliers[:MOST]]
    quality = [(cards.of(each.place), each, measured(each)) for each in found.quality[:MOST]]
    state = {
        "key": f"xfer-labels-{_digest(data)}",
        "classes": list(classes),
        "fields": [_field(name) for name in classes],
        "images": {n: [_field(suspects[n].place.name), _field(suspects[n].place.split)] for n in cards.thumbnails},
    }
    return fill(
        "labels.html",
        found=found,
        source=Path(found.source).name or found.source,
        errors=errors,
        groups=groups,
        outliers=outliers,
        quality=quality,
        most=MOST,
        state=state,
    )


@dataclass
class _Cards:
    """What a card shows of an image, made once."""

    data: Data
    numbers: dict[tuple[str, str], int]
    classes: Sequence[str]
    indices: dict[str, dict[str, int]] = field(default_factory=dict)
    thumbnails: dict[int, str | None] = field(default_factory=dict)

    def of(self, place: Place, suggested: str | None = None) -> dict[str, Any]:
        number = self.numbers[place.split, place.name]
        if number not in self.thumbnails:
            self.thumbnails[number] = self._thumbnail(place)
        option = self.classes.index(suggested) if suggested in self.classes else None
        return {"number": number, "place": place, "thumbnail": self.thumbnails[number], "option": option}

    def _thumbnail(self, place: Place) -> str | None:
        split = self.data.splits[place.split]
        if place.split not in self.indices:
            wanted = {name for _, name in self.numbers}
            self.indices[place.split] = {name: i for i, name in enumerate(split.names) if name in wanted}
        try:
            return data_uri(decode(split.images[self.indices[place.split][place.name]]))
        except BadImageError:  # it has gone since
            return None


def measured(issue: QualityIssue) -> str:
    """What is wrong with a picture, in words and numbers."""
    return {
        "tiny": f"tiny: its shorter side has {issue.value:g} pixels, less than a quarter of the median",
        "dark": f"dark: 99 of 100 pixels are darker than {issue.value:.0f} of 255",
        "low contrast": f"low contrast: 98 of 100 pixels differ by {issue.value:.0f} of 255 at most",
        "blurred": f"blurred: sharpness {issue.value:.3f}, below {issue.bound:g}",
    }[issue.issue]


def _field(text: str) -> str:
    """A field of a CSV file, percent-encoded byte by byte: names of files may be no UTF-8, which no script can hold."""
    quoted = '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') or text != text.strip() else text
    return quote(quoted.encode("utf-8", "surrogateescape"), safe="")


def _digest(data: Data) -> str:
    """Which data a page is about, for what a browser remembers."""
    return hashlib.sha256("".join(split.fingerprint() for split in data.splits.values()).encode()).hexdigest()[:16]
