"""LoRA from the file of the backbone to the checkpoint, the cache, the explanation and the merged model.

`backend` is set in a subclass. The network is a vision transformer of two layers.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load, load_file, save_file

import xfer
import xfer.zoo
from tests.suites import tiny_timm
from tests.suites.hub import OWNER
from xfer.certify.run import smallest
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.errors import CheckpointError, UsageError, WeightsError
from xfer.exporting.export import _in_float32
from xfer.features.boundary import boundary
from xfer.runtime import checksums
from xfer.workflows.config import run_settings
from xfer.workflows.run import train
from xfer.workflows.setup import check_run
from xfer.workflows.soup import soup

NAME, CLASSES = "tiny_dinov2", ["a", "b", "c"]
PATTERNS = ("*.attn.qkv", "re:.*fc[12]")
QUICK = ("tiny_siglip", "tiny_eva02", "tiny_eva02_clip", "tiny_convnext_v2")
SMALLEST = ("vit_b_32", "swin_t", "swin_v2_t", "maxvit_t", "convnext_tiny", "convnextv2_tiny", "vit_tiny_patch16_224")
SMALLEST += ("deit3_small_patch16_224", "eva02_tiny_patch14_224", "eva02_base_patch16_clip_224")


def images(number, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, 32, 32, 3)).astype(np.uint8)


def small_data():
    return xfer.data.arrays(images(12), np.arange(12) % 3, images(6, 1), np.arange(6) % 3, classes=CLASSES)


def write_backbone(backend, path):
    """A file with weights that all show, as timm names them."""
    model = xfer.load(NAME, backend=backend, weights=None, classes=5, image_size=32, precision="fp32")
    rng = np.random.default_rng(1)
    save_file({name: array + 0.1 * rng.standard_normal(array.shape).astype("f4") for name, array in _of(model)}, path)
    return path


def _names(files):
    return load(next(content for name, content in files.items() if name.startswith("model-")))


def _of(model):
    return model.weights().items()


class Adapters:
    backend = None

    @pytest.fixture(autouse=True)
    def known(self, monkeypatch):
        monkeypatch.setitem(xfer.zoo._CARDS, NAME, tiny_timm.CARDS[NAME])

    @pytest.fixture
    def file(self, tmp_path):
        return write_backbone(self.backend, tmp_path / "backbone.safetensors")

    def model(self, weights, **options):
        settings = {"classes": CLASSES, "image_size": 32, "precision": "fp32", "device": "cpu"} | options
        return xfer.load(NAME, backend=self.backend, weights=weights, **settings)

    def adapted(self, weights, **options):
        """With adapters that were trained for an epoch."""
        model = self.model(weights, **options)
        model.add_lora(4, 8)
        xfer.Trainer(model, lr=1e-2, batch_size=4, progress=False, cache=False).fit(small_data(), 1)
        return model

    def test_a_checkpoint_has_adapters_and_head_alone(self, file, tmp_path):
        model = self.adapted(file)
        before = load_file(file)
        assert all(a.tobytes() == before[n].tobytes() for n, a in _of(model) if n in before and "head" not in n)
        model.save(tmp_path / "run")
        run = open_checkpoint(tmp_path / "run")
        assert set(run.weights()) == {n for n in model.shapes() if ".lora_" in n or n.startswith("head.")}
        again = xfer.load(tmp_path / "run", backend=self.backend, device="cpu")
        assert again.trainable == model.trainable
        assert again.spec.lora == model.spec.lora
        assert all(array.tobytes() == model.weights()[name].tobytes() for name, array in _of(again))
        np.testing.assert_array_equal(again.logits(images(3)), model.logits(images(3)))
        again.save(tmp_path / "again")  # which knows where its backbone is, too
        assert open_checkpoint(tmp_path / "again").manifest.tensors == run.manifest.tensors
        assert open_checkpoint(tmp_path / "again").manifest.backbone == run.manifest.backbone

    def test_a_resumed_run_ends_bitwise_the_same(self, file, tmp_path):
        class Save(xfer.callbacks.Callback):
            def on_step_end(self, trainer, step, loss):
                if (trainer.epoch, step) == (0, 1):
                    trainer.save(tmp_path / "under way")

        model = self.model(file)
        model.add_lora(4, 8)
        options = {"lr": 1e-2, "batch_size": 4, "swa": 2, "augment": "flip", "progress": False, "cache": False}
        xfer.Trainer(model, callbacks=[Save()], **options).fit(small_data(), 2)
        place = {"backend": self.backend, "device": "cpu", "progress": False, "cache": False}
        resumed = xfer.Trainer.resume(tmp_path / "under way", **place)
        assert resumed.plan is not None
        resumed.fit(small_data())
        assert all(array.tobytes() == model.weights()[name].tobytes() for name, array in _of(resumed.model))
        assert resumed.model.freezer.verify() > 0

    def test_the_merged_model_is_a_plain_one_with_the_same_outputs(self, file, tmp_path):
        model = self.adapted(file)
        expected = model.logits(images(4))
        assert np.abs(expected - self.model(file).logits(images(4))).max() > 1e-3
        maps = model.explain(images(2), "a", block="layer0").raw
        exported = _in_float32(model)
        assert exported.spec.lora is None
        np.testing.assert_allclose(exported.logits(images(4)), expected, atol=1e-6)
        model.merge_lora()
        np.testing.assert_allclose(model.logits(images(4)), expected, atol=1e-6)
        np.testing.assert_allclose(model.explain(images(2), "a", block="layer0").raw, maps, atol=1e-6)
        assert set(model.shapes()) == set(self.model(file).shapes())
        model.save(tmp_path / "merged")
        assert set(open_checkpoint(tmp_path / "merged").weights()) == set(model.shapes())
        model.unfreeze(last=1)
        xfer.Trainer(model, batch_size=4, progress=False, cache=False).fit(small_data(), 1)

    @pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in SMALLEST)])
    def test_every_family_with_linear_layers_is_merged(self, monkeypatch, name):
        """Adapters of every linear layer beside the same model with B A in its weights."""
        if name in tiny_timm.CARDS:
            monkeypatch.setitem(xfer.zoo._CARDS, name, tiny_timm.CARDS[name])
        size = smallest(xfer.zoo.card(name))
        options = {"weights": None, "classes": CLASSES, "image_size": size, "precision": "fp64", "device": "cpu"}
        model, rng = xfer.load(name, backend=self.backend, **options), np.random.default_rng(0)
        pixels = rng.integers(0, 256, (2, size, size, 3)).astype(np.uint8)
        model.set_weights({n: np.ones_like(a) for n, a in model.weights().items() if "scale" in n or "gamma" in n})
        plain = model.weights()
        model.add_lora(2)
        adapters = {n: 0.1 * rng.standard_normal(model.shapes()[n]) for n in model.spec.lora.tensors}
        model.set_weights(adapters)
        adapted, matrices = model.features(pixels), model.spec.lora.weights
        model.merge_lora()
        changed = {n for n, array in model.weights().items() if not np.array_equal(array, plain[n])}
        assert changed == set(matrices)
        merged = model.features(pixels)
        np.testing.assert_allclose(adapted, merged, atol=1e-9 * np.abs(merged).max(), rtol=0)
        model.set_weights(plain)
        assert np.abs(model.features(pixels) - merged).max() > 1e-6 * np.abs(merged).max()


class Files(Adapters):
    """What is the core's alone."""

    def test_what_was_trained_beside_the_adapters_is_kept(self, file, tmp_path):
        model = self.model(file)
        model.add_lora(4)
        model.unfreeze(only="biases")
        xfer.Trainer(model, lr=1e-2, batch_size=4, progress=False, cache=False).fit(small_data(), 1)
        model.save(tmp_path / "run")
        assert "blocks.0.norm1.bias" in open_checkpoint(tmp_path / "run").weights()
        again = xfer.load(tmp_path / "run", backend=self.backend, device="cpu")
        assert all(array.tobytes() == model.weights()[name].tobytes() for name, array in _of(again))

    def test_a_backbone_that_is_gone_or_another_is_refused(self, file, tmp_path):
        self.adapted(file).save(tmp_path / "run")
        arrays = load_file(file)
        arrays["blocks.1.mlp.fc1.weight"][0, 0] += 1
        save_file(arrays, file)
        with pytest.raises(WeightsError, match="which are others now: bring back") as changed:
            xfer.load(tmp_path / "run", backend=self.backend)
        file.unlink()
        with pytest.raises(WeightsError, match="which are not at hand: no weights at") as gone:
            xfer.load(tmp_path / "run", backend=self.backend)
        assert all("\n" not in str(found.value) for found in (changed, gone))

    def test_all_weights_are_kept_where_the_backbone_cannot_be_read_again(self, file, tmp_path):
        drawn, lost, second = self.adapted(None), self.adapted(file), self.model(file)
        lost.save(tmp_path / "before")  # which has left the backbone out
        file.unlink()
        second.save(tmp_path / "plain")
        of_run = xfer.load(tmp_path / "plain", backend=self.backend, device="cpu")
        of_run.add_lora(2)
        of_file = self.model(next((tmp_path / "plain").glob("model-*")))
        of_file.add_lora(2)
        for number, model in enumerate((drawn, lost, of_run, of_file)):
            model.save(tmp_path / f"{number}")
            run = open_checkpoint(tmp_path / f"{number}")
            assert run.manifest.backbone is None
            assert set(run.weights()) == set(model.shapes())
            again = xfer.load(tmp_path / f"{number}", backend=self.backend, device="cpu")
            np.testing.assert_array_equal(again.logits(images(2)), model.logits(images(2)))

    def test_a_manifest_that_lies_is_refused(self, file, tmp_path):
        self.adapted(file).save(tmp_path / "run")
        path = tmp_path / "run" / "manifest.json"
        document = json.loads(path.read_bytes())
        for change, said in (({"rank": 10**9}, "its manifest says"), ({"weights": ["pos_embed"]}, "no linear layer")):
            lying = document | {"lora": document["lora"] | change}
            lying.pop("sha256", None)
            path.write_bytes(checksums.with_checksum(lying))
            with pytest.raises(CheckpointError, match=said):
                xfer.load(tmp_path / "run", backend=self.backend)

    def test_cached_features_are_those_of_the_adapters(self, file):
        plain, model = self.model(file), self.model(file)
        model.add_lora(4, 8, layers="layer1")
        assert boundary(model) == "layer0"
        assert model.fingerprint("layer0") == plain.fingerprint("layer0")  # below the adapters the cache is shared
        assert model.fingerprint("layer1") != plain.fingerprint("layer1")
        other = self.model(file)
        other.add_lora(4, 4, layers="layer1")
        assert other.fingerprint("layer1") != model.fingerprint("layer1")
        model.merge_lora()
        model.add_lora(4, layers=PATTERNS)
        assert boundary(model) == "stem"
        assert len(model.spec.lora.weights) == 6

    def test_a_soup_of_adapters_is_of_merged_weights(self, file):
        models = [self.adapted(file), self.model(file)]
        models[1].add_lora(2, 1)
        expected = [m.spec.lora.merged(m.weights()) for m in models]
        found, chosen = soup(models, small_data(), batch_size=6, cache=False)
        assert found.spec.lora is None
        name = "blocks.0.mlp.fc1.weight"
        np.testing.assert_allclose(found.weights()[name], np.mean([expected[i][name] for i in chosen], 0), atol=1e-7)

    def test_a_push_is_read_without_the_files_of_this_machine(self, file, tmp_path, hub, monkeypatch):
        """All weights of a local file; adapters and head of one that is on the hub, at its commit."""
        monkeypatch.setenv("HF_TOKEN", OWNER)
        local = self.adapted(file)
        local.save(tmp_path / "run")
        addresses = [local.push("me/local"), xfer.push(tmp_path / "run", "me/local-run")]
        plain = self.model(file).push("me/plain")
        file.unlink()
        repo = hub.repos["me/plain"]
        pushed = repo.commits[repo.branches["main"]]
        weights = next(name for name in pushed if name.startswith("model-"))
        begun = self.adapted(f"hf://me/plain/{weights}")
        begun.save(tmp_path / "begun")
        backbone = open_checkpoint(tmp_path / "begun").manifest.backbone
        assert backbone.weights == f"{plain}/{weights}"
        addresses.append(begun.push("me/begun"))
        for address, model in zip(addresses, (local, local, begun), strict=True):
            again = xfer.load(address, backend=self.backend, device="cpu")
            np.testing.assert_array_equal(again.logits(images(2)), model.logits(images(2)))
        for name in ("me/local", "me/local-run", "me/begun"):
            repo = hub.repos[name]
            stored = repo.commits[repo.branches["main"]]
            assert str(tmp_path).encode() not in b"".join(stored.values())
            assert ("blocks.0.attn.qkv.weight" in _names(stored)) == (name != "me/begun")

    def test_a_run_from_its_settings(self, file, tmp_path):
        given = {"data": "digits", "limit": 18, "model": NAME, "weights": str(file), "image_size": 32, "epochs": 1}
        given |= {
            "lora": 2,
            "lora_alpha": 6.0,
            "lora_layers": "layer1",
            "train": "biases",
            "out": str(tmp_path / "run"),
        }
        given |= {"backend": self.backend, "device": "cpu", "precision": "fp32", "cache": False}
        result = train(run_settings(given), progress=False)
        lora = result.model.spec.lora
        assert (lora.rank, lora.alpha, len(lora.weights)) == (2, 6.0, 4)
        assert {n for n in result.model.trainable if not n.endswith("bias")} == {*lora.tensors, "head.weight"}
        assert {"patch_embed.proj.bias", "norm.bias"} < result.model.trainable
        assert result.metrics["parameters"]["trainable"] == result.model.freezer.report().trainable
        run = open_checkpoint(tmp_path / "run")
        assert run.manifest.backbone.weights == str(file)
        assert "blocks.0.attn.qkv.weight" not in run.weights()

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"lora_alpha": 4.0}, "give the rank"),
            ({"lora": 4, "fine_tune": 2}, "leave out fine_tune"),
            ({"train": "biases", "fine_tune": 2}, "leave out fine_tune"),
            ({"lora": 4, "estimator": "svm"}, "leave out estimator"),
            ({"train": "biases", "resample": "smote"}, "leave one out"),
        ],
    )
    def test_options_that_do_not_go_together_are_refused(self, options, said):
        with pytest.raises(UsageError, match=said):
            check_run(run_settings({"data": "digits", **options}))

    def test_fine_tuning_blocks_is_refused(self, file):
        model = self.model(file)
        model.add_lora(2)
        with pytest.raises(UsageError, match="merge_lora"):
            xfer.Trainer(model, progress=False).fine_tune(small_data())
        with pytest.raises(UsageError, match="only='lora'"):
            self.model(file).unfreeze(only="lora")

    def test_a_new_head_keeps_the_adapters(self, file, tmp_path):
        model = self.adapted(file)
        model.save(tmp_path / "run")
        again = xfer.load(tmp_path / "run", backend=self.backend, classes=["x", "y"], device="cpu")
        assert again.trainable == set(again.spec.lora.tensors) | {"head.weight", "head.bias"}
        np.testing.assert_array_equal(again.features(images(2)), model.features(images(2)))
        copied = replace(again.snapshot(whole=True))
        assert copied.backbone is None
        assert set(copied.weights) == set(again.shapes())
