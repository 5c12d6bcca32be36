"""`labels.html` of many suspected images is as large as what it shows; `suspects.csv` has all of them."""

import csv
import json
import re

import numpy as np
import pytest

from xfer.data import Data, Split
from xfer.data.audit.duplicates import Place
from xfer.data.audit.near import NearDuplicates
from xfer.evaluation.label_errors import LabelError
from xfer.evaluation.label_issues import LabelIssues, Outlier
from xfer.report import labels

MANY = 2_000


@pytest.fixture(scope="module")
def found():
    pytest.importorskip("jinja2")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8).repeat(MANY, 0)
    names = [f"a-name-{i:05d}" for i in range(MANY)]
    data = Data(Split(pixels, np.arange(MANY) % 2, names, ("x", "y")), None, None, ("x", "y"), "many")
    places = [Place("train", name, "xy"[i % 2]) for i, name in enumerate(names)]
    errors = tuple(LabelError(place, "yx"[i % 2], i / MANY, True) for i, place in enumerate(places[:1000]))
    group = NearDuplicates((*places[900:], places[900]), 0.95)  # one of them is listed twice
    outliers = (Outlier(places[-1], 2.0, 1.0),)
    return LabelIssues("many", "net", "numpy", errors, (group,), outliers, (), ()), data


def test_the_page_has_what_it_shows_alone(found):
    issues, data = found
    suspects = labels.collect(issues)
    page = labels.render(issues, data, suspects).decode()
    state = json.loads(re.search(r'id="state">(.*?)</script>', page, re.DOTALL)[1])
    shown = re.findall(r'data-card="(\d+)"', page)
    assert len(shown) == labels.MOST + labels.MOST_OF_A_GROUP + 1
    assert set(state["images"]) == set(shown)
    assert all(state["images"][n] == [suspects[int(n)].place.name, "train"] for n in shown)
    names = [name for name in (f"a-name-{i:05d}" for i in range(MANY)) if name in page]
    assert len(names) == len(set(shown))
    assert "the first 12 of 1,101 images" in page
    assert "The first 300 of 1,000" in page


def test_the_table_names_all_and_a_few_of_a_group(found):
    issues, _ = found
    rows = list(csv.DictReader(labels.table(labels.collect(issues), ("x", "y")).decode().splitlines()))
    assert [row["image"] for row in rows] == [f"a-name-{i:05d}" for i in range(MANY)]
    reasons = {row["image"]: row["reasons"] for row in rows}
    others = "a-name-00901, a-name-00902, a-name-00903 and 1096 more"
    assert reasons["a-name-00900"] == f"label; near-duplicate of {others}; near-duplicate of {others}"
    first = "a-name-00900, a-name-00901, a-name-00902 and 1097 more"
    assert reasons["a-name-01500"] == f"near-duplicate of {first}"
    assert reasons["a-name-01999"] == f"near-duplicate of {first}; outlier"
