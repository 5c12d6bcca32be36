"""One set of weights gives one set of logits, whichever framework computes them.

Here the smallest network of each family, those that are slow to build in `make test-all`, with variants that are built
otherwise; the whole zoo is measured by `python -m xfer.certify.zoo`.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xfer
from tests.cross.forward import EXPLAINED
from tests.suites import tiny_timm
from xfer.certify.scenario import SCENARIOS
from xfer.certify.zoo import parity_results
from xfer.zoo import card, cards
from xfer.zoo.published import TIMM_FAMILIES

FAMILIES = {c.family for c in cards()}
SMALLEST = [min((c for c in cards() if c.family == family), key=lambda c: c.parameters).name for family in FAMILIES]
SLOW = {"alexnet", "vgg11", "densenet121", "googlenet", "keras_inception_v3"}
SLOW |= {"maxvit_t", "mnasnet0_5", "regnet_y_400mf", "vit_tiny_patch16_224", "convnextv2_atto"}
SLOW |= {"eva02_tiny_patch14_224", "mobilenetv4_conv_small_050", "resnet18d"}
SLOW |= {"vit_b_16", "convnext_tiny", "efficientnet_b0", "keras_mobilenet", "shufflenet_v2_x0_5"}
SLOW |= {"swin_t", "mobilenet_v2"}
SLOW |= {"tiny_deit3", "tiny_registers", "tiny_gap_normed", "tiny_convnext_v2", "tiny_eva02"}
SLOW |= {"squeezenet1_1", "tiny_dinov2", "tiny_gap", "tiny_convnext_v2_conv", "tiny_resnetrs"}
QUICK = sorted({*SMALLEST, *tiny_timm.CARDS} - SLOW)
VARIANTS = [
    *sorted(SLOW),
    "vgg11_bn",
    "resnet50",
    "resnext50_32x4d",
    "squeezenet1_0",
    "efficientnet_v2_s",
    "regnet_y_400mf",
    "swin_v2_t",
]
VARIANTS += ["deit3_small_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_base_patch32_clip_quickgelu_224"]
VARIANTS += ["vit_base_patch32_siglip_256", "vit_wee_patch16_reg1_gap_256", "vit_medium_patch16_gap_256"]
VARIANTS += ["tf_efficientnet_b0", "tf_efficientnetv2_b0", "eva02_base_patch14_224", "mobilenetv4_hybrid_medium"]
VARIANTS += ["resnetrs50"]
VARIANTS += ["mobilenet_v3_large", "keras_resnet50", "keras_inception_v3", "keras_mobilenet_v2", "keras_densenet121"]
MODELS = sorted({*SMALLEST, *VARIANTS})
BOUND = {"fp64": 1e-9, "fp32": 1e-5}


def smallest(model: str) -> int:
    if model in tiny_timm.CARDS:
        return tiny_timm.CARDS[model].preprocessing.size
    found = card(model)
    return -(-max(64, found.size_smallest) // found.size_multiple) * found.size_multiple


def forward(folder: Path, sizes: dict[str, int]) -> dict[str, Path]:
    folders = {backend: folder / backend for backend in ("torch", "tensorflow")}
    worker = str(Path(__file__).with_name("forward.py"))
    running = []
    for backend, path in folders.items():
        path.mkdir()
        models = [f"{model}:{size}" for model, size in sizes.items()]
        running.append(subprocess.Popen([sys.executable, worker, backend, str(path), *models]))
    assert [process.wait() for process in running] == [0, 0]
    return folders


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    return forward(tmp_path_factory.mktemp("small"), {model: smallest(model) for model in QUICK})


@pytest.fixture(scope="session")
def variants(tmp_path_factory):
    return forward(tmp_path_factory.mktemp("variants"), {model: smallest(model) for model in VARIANTS})


@pytest.fixture(scope="session")
def full(tmp_path_factory):
    sizes = {model: card(model).preprocessing.size for model in MODELS}
    return forward(tmp_path_factory.mktemp("full"), sizes)


@pytest.fixture
def made(request, model):
    """The folders of a network that is quick, or of a variant."""
    return request.getfixturevalue("small" if model in QUICK else "variants")


def marked(models):
    """Those that are not quick are long."""
    return [model if model in QUICK else pytest.param(model, marks=pytest.mark.long) for model in models]


def check(folders: dict[str, Path], model: str, precision: str) -> None:
    ours, theirs = (np.load(folders[b] / f"{model}-{precision}.npz") for b in ("torch", "tensorflow"))
    assert list(ours) == list(theirs)
    assert ours["head"].dtype == (np.float64 if precision == "fp64" else np.float32)
    for stage in ours:
        a, b = ours[stage].astype(np.float64), theirs[stage].astype(np.float64)
        assert a.shape == b.shape, stage
        assert a.std() > 0, f"{stage} says nothing"
        worst = np.abs(a - b).max() / np.abs(a).max()
        assert worst <= BOUND[precision], f"{model} {precision}: {stage} differs by {worst:.2e}"


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize("model", QUICK)
def test_parity(small, model, precision):
    check(small, model, precision)


def explained(names):
    return [name for name in names if (tiny_timm.CARDS.get(name) or card(name)).family in EXPLAINED]


@pytest.mark.parametrize("model", explained(QUICK))
def test_grad_cam_is_the_same(small, model):
    same_maps(small, model)


@pytest.mark.long
@pytest.mark.parametrize("model", explained(VARIANTS))
def test_grad_cam_of_variants_is_the_same(variants, model):
    same_maps(variants, model)


def same_maps(folders, model):
    ours, theirs = (np.load(folders[b] / f"{model}-explained.npz") for b in ("torch", "tensorflow"))
    assert str(ours["block"]) == str(theirs["block"])
    for name in ("raw", "maps"):
        a, b = ours[name], theirs[name]
        assert a.dtype == np.float64
        assert a.max() > 0, "the maps are empty"
        assert np.abs(a - b).max() <= 1e-9 * np.abs(a).max(), f"{model}: {name} differ"


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize("model", VARIANTS)
def test_parity_of_variants(variants, model, precision):
    check(variants, model, precision)


def same_tensors(folders, model):
    ours, theirs = (json.loads((folders[b] / f"{model}.json").read_text()) for b in ("torch", "tensorflow"))
    assert ours == theirs


@pytest.mark.parametrize("model", QUICK)
def test_tensors_have_torchvisions_names_and_shapes(small, model):
    same_tensors(small, model)


@pytest.mark.long
@pytest.mark.parametrize("model", VARIANTS)
def test_tensors_of_variants_have_torchvisions_names_and_shapes(variants, model):
    same_tensors(variants, model)


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize("model", MODELS)
def test_parity_at_full_size(full, model, precision):
    check(full, model, precision)


@pytest.mark.parametrize("model", marked(tiny_timm.STEPPED))
def test_a_step_of_tiny_networks_is_the_same(made, model):
    ours, theirs = (np.load(made[backend] / f"{model}-step.npz") for backend in ("torch", "tensorflow"))
    assert sorted(ours) == sorted(theirs)
    assert sum(np.abs(ours[name]).max() > 1e-15 for name in ours) >= 0.9 * len(ours)
    for name in ours:
        largest, difference = np.abs(ours[name]).max(), np.abs(ours[name] - theirs[name]).max()
        # A bias whose effect the next normalisation takes away has no gradient but what rounding leaves.
        assert difference <= BOUND["fp64"] * largest or max(difference, largest) < 1e-15, name


@pytest.mark.parametrize("model", marked(tiny_timm.ADAPTED))
def test_a_step_of_adapters_is_the_same(made, model):
    ours, theirs = (np.load(made[backend] / f"{model}-lora.npz") for backend in ("torch", "tensorflow"))
    assert sorted(ours) == sorted(theirs)
    assert sum(name.endswith("lora_A") for name in ours) >= 8
    for name in ours:
        assert ours[name].any(), name
        assert np.abs(ours[name] - theirs[name]).max() <= BOUND["fp64"] * np.abs(ours[name]).max(), name
    assert np.abs(ours["logits"] - ours["merged"]).max() <= BOUND["fp64"] * np.abs(ours["logits"]).max()


@pytest.mark.long
def test_twenty_updates_of_adapters_are_the_same():
    """The certificate's run, on every kind of matrix that has an adapter."""
    scenarios = [scenario for scenario in SCENARIOS if scenario.lora is not None]
    for model in ("vit_tiny_patch16_224", "swin_v2_t", "maxvit_t"):
        certificate = xfer.parity(model, scenarios=scenarios, precisions=("fp64",), image_size=smallest(model))
        assert certificate.passed, certificate.trials[0].first_failure
        assert len(certificate.trials) == 1


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
def test_a_training_step_is_the_same(model):
    """All of the certificate's stages over one step with everything trainable, auxiliary classifiers at work."""
    certificate = xfer.parity(model, steps=1, scenarios=SCENARIOS[:1])
    assert certificate.passed, certificate.trials[0].first_failure


def test_the_whole_zoo_was_measured_and_nothing_fails():
    results = parity_results()
    assert set(results) == {c.name for c in cards()}
    proofs = [(name, kind, found[kind]) for name, found in results.items() if found for kind in BOUND if kind in found]
    measured = [c for c in cards() if results[c.name] or c.family not in TIMM_FAMILIES]  # of timm's not all are, yet
    assert len(proofs) >= 2 * len(measured) * 0.9
    for name, kind, proof in proofs:
        assert proof["passed"], f"{name} {kind}"
        assert kind == "fp32" or proof["error"] <= BOUND[kind]


def test_nothing_that_was_measured_on_jax_fails():
    results = parity_results("jax")
    assert set(results) <= {c.name for c in cards()}
    for name, found in results.items():
        for kind in BOUND.keys() & (found or {}).keys():
            assert found[kind]["passed"], f"{name} {kind}"
            assert kind == "fp32" or found[kind]["error"] <= BOUND[kind]
        assert "jax" in (found or {"versions": "jax"})["versions"]
