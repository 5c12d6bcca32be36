"""Stages that need no network: pixels, labels, weights, loss, gradients and update, on crafted traces."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import xfer
from tests.core.traces.craft import craft
from tests.suites.pages import ROOT
from xfer.cli.app import app
from xfer.errors import DataError, UsageError
from xfer.traces.findings import CAUSES, STAGES


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return craft(tmp_path_factory.mktemp("traces") / "base")


def causes(found):
    return {each.cause for each in found.findings}


def test_a_trace_is_the_same_as_itself(base):
    found = xfer.diff(base, base)
    assert found.same
    assert found.difference == 0
    assert found.layers == (("flatten", "flatten"), ("fc", "fc"))
    assert set(found.tensors) == {("fc.weight", "fc.weight"), ("fc.bias", "fc.bias")}
    assert found.notes == ()


PIXELS = {
    "channel-order": lambda x: x[:, ::-1],
    "value-range": None,
    "normalisation": lambda x: x * np.array([1.0, 2.0, 0.5]).reshape(3, 1, 1) + 0.1,
    "flip": lambda x: x[..., ::-1],
    "crop": lambda x: np.roll(x, 3, 2),
    "resize": lambda x: (x + np.roll(x, 1, 2) + np.roll(x, 1, 3) + np.roll(x, (1, 1), (2, 3))) / 4,
    "sample-order": lambda x: x[[3, 0, 1, 2, 7, 6, 5, 4]],
}


@pytest.mark.parametrize("cause", [cause for cause, change in PIXELS.items() if change])
def test_what_was_done_to_pixels_is_named(base, tmp_path, cause):
    order = [3, 0, 1, 2, 7, 6, 5, 4] if cause == "sample-order" else slice(None)
    other = craft(tmp_path / "b", lambda x, y: (PIXELS[cause](x), y[order]))
    assert causes(xfer.diff(base, other)) == {cause}


@pytest.mark.parametrize("scale", [(255.0, 0.0), (2.0, -1.0)])
def test_another_range_is_named(tmp_path, scale):
    def unit(x):
        return np.clip((x + 3) / 6, 0, 1)

    a = craft(tmp_path / "a", lambda x, y: (unit(x), y))
    b = craft(tmp_path / "b", lambda x, y: (unit(x) * scale[0] + scale[1], y))
    (found,) = xfer.diff(a, b).findings
    assert found.cause == "value-range"
    assert "[0, 1]" in found.evidence


def test_other_images_hide_no_later_cause(base, tmp_path):
    other = craft(tmp_path / "b", seed=5, smoothing=0.2, nesterov=True)
    assert causes(xfer.diff(base, other)) == {"other-images", "label-smoothing", "nesterov"}


def test_decoders_differ_by_grey_levels(tmp_path):
    def eight_bit(x):
        return np.clip(np.round((x + 3) * 40), 0, 255) / 255

    noise = np.random.default_rng(9)
    a = craft(tmp_path / "a", lambda x, y: (eight_bit(x), y))
    b = craft(tmp_path / "b", lambda x, y: (eight_bit(x) + noise.integers(-1, 2, x.shape) / 255, y))
    assert causes(xfer.diff(a, b)) == {"decoder"}


def test_labels_of_another_order_and_other_labels(base, tmp_path):
    order = craft(tmp_path / "b", lambda x, y: (x, np.array([1, 2, 0])[y]))
    (found,) = xfer.diff(base, order).findings
    assert found.cause == "class-order"
    assert "0 (ant) of a is 1 in b" in found.evidence
    noise = craft(tmp_path / "c", lambda x, y: (x, np.where(np.arange(8) == 3, (y + 1) % 3, y)))
    (found,) = xfer.diff(base, noise).findings
    assert found.cause == "labels"
    assert found.difference == pytest.approx(1 / 8)


def test_other_initial_weights_hide_no_later_cause(base, tmp_path):
    other = craft(tmp_path / "b", start=2, rate=0.2, reduction="sum")
    assert causes(xfer.diff(base, other)) == {"initialisation", "learning-rate", "reduction"}


@settings(max_examples=12, deadline=None)
@given(
    smoothing=st.sampled_from([0.0, 0.1, 0.25]),
    reduction=st.sampled_from(["mean", "sum"]),
    decay=st.sampled_from([0.0, 1e-3]),
    momentum=st.sampled_from([0.9, 0.5]),
    nesterov=st.booleans(),
)
def test_any_combination_is_found_by_its_parts(tmp_path_factory, smoothing, reduction, decay, momentum, nesterov):
    folder = tmp_path_factory.mktemp("pairs")
    options = {"smoothing": smoothing, "reduction": reduction, "decay": decay, "momentum": momentum}
    found = xfer.diff(craft(folder / "a"), craft(folder / "b", nesterov=nesterov, **options))
    parts = {
        "label-smoothing": smoothing > 0,
        "reduction": reduction == "sum",
        "weight-decay": decay > 0,
        "momentum": momentum != 0.9,
        "nesterov": nesterov,
    }
    assert causes(found) == {cause for cause, there in parts.items() if there}


def test_clipping_is_found_with_its_limit(base, tmp_path):
    (found,) = xfer.diff(craft(tmp_path / "a", clip=0.25), base).findings
    assert found.cause == "clipping"
    assert "by the norm of all gradients together, at 0.25" in found.evidence
    assert found.remedy == "torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)"


def test_the_interpolation_is_named_by_the_raw_images(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(3)
    noise = [rng.integers(0, 256, (12, 9, 3), np.uint8) for _ in range(24)]
    pictures = [np.asarray(Image.fromarray(x).resize((36, 48), Image.Resampling.BICUBIC)) for x in noise]

    def images(kind):
        found = [np.asarray(Image.fromarray(x).resize((16, 16), kind)) for x in pictures]
        batches = iter(np.split(np.stack(found).transpose(0, 3, 1, 2) / 255.0, 3))
        return lambda x, y: (next(batches), y)

    def raw(step):
        return {f"raw/{i}": pictures[8 * step + i] for i in range(2)}

    a = craft(tmp_path / "a", images(Image.Resampling.BILINEAR), raw)
    b = craft(tmp_path / "b", images(Image.Resampling.NEAREST), raw)
    (found,) = xfer.diff(a, b).findings
    assert found.cause == "resize"
    assert found.evidence == "a is Pillow's bilinear, antialiased, b is nearest, of pixel centres"


def test_a_map_pairs_what_is_not_found_to_belong_together(base, tmp_path):
    (tmp_path / "map.toml").write_text('"fc.weight" = "fc.bias"\n')
    found = xfer.diff(base, base, map=tmp_path / "map.toml")
    assert ("fc.weight", "fc.bias") in found.tensors
    with pytest.raises(UsageError, match="'head', which is no layer and no tensor"):
        xfer.diff(base, base, map={"head": "fc"})
    (tmp_path / "map.toml").write_text("fc = 3\n")
    with pytest.raises(DataError, match='write "name in a" = "name in b"'):
        xfer.diff(base, base, map=tmp_path / "map.toml")
    with pytest.raises(DataError, match="cannot read the map"):
        xfer.diff(base, base, map=tmp_path / "none.toml")


def test_the_command(base, tmp_path):
    other = craft(tmp_path / "b", nesterov=True)
    run = CliRunner().invoke
    assert run(app, ["diff", str(base), str(base)]).exit_code == 0
    done = run(app, ["diff", str(base), str(other), "--json", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["same"] is False
    (found,) = document["findings"]
    assert list(found) == ["stage", "cause", "where", "difference", "evidence", "remedy"]
    assert (found["stage"], found["cause"], found["remedy"]) == ("update", "nesterov", "nesterov=False")
    assert json.loads((tmp_path / "out" / "diff.json").read_text()) == document
    page = (tmp_path / "out" / "diff.html").read_text()
    assert "nesterov is False in a, True in b" in page
    shown = run(app, ["diff", str(base), str(other)], env={"COLUMNS": "200"})
    assert shown.exit_code == 1
    assert "nesterov" in shown.stdout
    assert run(app, ["diff", str(base), str(tmp_path)]).exit_code == 1


def test_every_cause_is_in_the_docs_with_its_meaning():
    rows = re.findall(r"^\| (\w+) \| `([\w-]+)` \| (.+) \|$", (ROOT / "docs" / "diff.md").read_text(), re.MULTILINE)
    assert {cause: (stage, meaning) for stage, cause, meaning in rows} == CAUSES
    assert [stage for stage, _, _ in rows] == sorted((s for s, _ in CAUSES.values()), key=STAGES.index)
