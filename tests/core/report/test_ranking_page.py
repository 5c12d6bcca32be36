"""The page of a ranking: whole, escaped, and which networks no other beats."""

import json
from dataclasses import replace

import numpy as np
import pytest

import xfer
from tests.core.report.test_page import HOSTILE, Page
from xfer.data.batch import Skipped
from xfer.errors import CheckpointError, XferError
from xfer.report import ranking as pages
from xfer.testing import NumpyBackend
from xfer.workflows.ranking.candidates import LeftOut
from xfer.workflows.ranking.ranking import Images, Ranked, Ranking


def ranked(model, logme=0.1, accuracy=0.9, seconds=0.01):
    return Ranked(
        model,
        "torch",
        logme,
        accuracy,
        (accuracy - 0.05, accuracy + 0.02),
        0.5,
        0.8,
        seconds,
        1000,
        4000,
        16,
        32,
        "fp32",
        0,
    )


def ranking(*networks, left_out=(), source="photos", **images):
    told = {"unlabelled": 0, "single": (), "skipped": (), "untouched": 7} | images
    seen = Images(source, 60, 3, 5, **told)
    return Ranking(networks, left_out, seen, 0, f"xfer train {source} --model {networks[0].model}")


def test_every_network_is_in_the_table_and_in_both_charts():
    networks = [ranked(f"net{i}", -i / 10, 0.9 - i / 50, 10.0 ** -(i % 4)) for i in range(30)]
    page = Page(pages.render(ranking(*networks)).decode())
    for place, each in enumerate(networks, 1):
        assert f"{place}\u2002{each.model}" in page.texts
        assert f"{each.logme:.4f}" in page.text
        assert page.drawn.count(str(place)) >= 2
    assert "net0 is the most promising of 30 networks for photos" in page.text
    assert "xfer train photos --model net0" in page.text
    assert page.values("a", "href") + page.values("img", "src") + page.values("script", "src") == []


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_and_nothing_else(name):
    bad = Skipped(f"{name}\udcff\n", "damaged")
    left_out = (LeftOut(f"tiny:{name}", name),)
    html = pages.render(
        ranking(
            ranked(f"tiny:{name}"),
            left_out=left_out,
            source=f"/x/{name.replace('/', '')}",
            single=(name,),
            skipped=(bad,),
        )
    )
    page = Page(html.decode())
    assert "script" not in page.tags
    assert " ".join(name.split()).replace("\x0b", "") in page.text.replace("\x0b", "")
    assert not [where for where, key, value in page.attributes if key.startswith("on")]


def test_one_network_and_equal_times():
    page = Page(pages.render(ranking(ranked("only"))).decode())
    assert "only is both the fastest and the most accurate" in page.text
    pages.render(ranking(ranked("a", seconds=1e-7), ranked("b", seconds=1e-7, accuracy=1.0), ranked("c", accuracy=0.0)))


@pytest.mark.parametrize("seed", range(5))
def test_what_no_other_beats(seed):
    """Against a sweep from the fastest to the slowest, which keeps what is more accurate than all before."""
    rng = np.random.default_rng(seed)
    networks = [
        ranked(f"n{i}", accuracy=a, seconds=s)
        for i, (a, s) in enumerate(rng.permutation(40)[:24].reshape(12, 2) / 40 + 0.01)
    ]
    expected, best = [], -1.0
    for each in sorted(networks, key=lambda n: n.seconds_per_image):
        if each.probe_accuracy > best:
            expected.append(each.model)
            best = each.probe_accuracy
    assert sorted(each.model for each in pages.not_beaten(networks)) == sorted(expected)
    same = ranked("x"), ranked("y")
    assert pages.not_beaten(same) == list(same)
    assert pages.not_beaten([ranked("x"), replace(ranked("y"), probe_accuracy=0.91)])[0].model == "y"


def test_rank_writes_the_page_and_the_document(tmp_path, data, capsys):
    found = xfer.rank(
        data, models=["tiny:none"], backend=NumpyBackend(), image_size=16, out=tmp_path / "new" / "out", cache=False
    )
    assert json.loads((tmp_path / "new" / "out" / "ranking.json").read_text()) == found.document()
    assert (tmp_path / "new" / "out" / "ranking.html").read_bytes() == pages.render(found)
    assert capsys.readouterr().err == "1/1 tiny:none\n"
    assert found.best.seconds_per_image > 0


def test_what_cannot_be_written_is_known_before_the_work(tmp_path, monkeypatch, data):
    monkeypatch.setattr(pages, "rank_models", lambda *given, **options: pytest.fail("networks were ranked"))
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write into"):
        xfer.rank(data, out=tmp_path / "file" / "out")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(XferError, match=r"needs matplotlib: pip install .xfer-learn\[report\]"):
        xfer.rank(data, out=tmp_path)
