"""Position embeddings and tables of relative positions at other image sizes: those of timm and of torch."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from torch.nn import functional

import xfer
from xfer.errors import UsageError
from xfer.weights.positions import resize_positions, resize_table

GRIDS = [(4, 6), (4, 2), (7, 14), (16, 24), (37, 16), (5, 1)]


def load(name, weights, size):
    return xfer.load(name, weights=weights, backend="torch", device="cpu", image_size=size, precision="fp64")


def pixels(size):
    return np.random.default_rng(0).integers(0, 256, (3, size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize(("before", "after"), GRIDS)
@pytest.mark.parametrize("prefix", [0, 5])
def test_position_embeddings_are_resized_as_timm_and_torch_do(before, after, prefix):
    generator = torch.Generator().manual_seed(0)
    embedding = 0.1 * torch.randn(1, prefix + before**2, 6, generator=generator)
    ours = resize_positions(embedding.numpy(), after, prefix)
    assert ours.dtype == np.float32
    expected = resample_abs_pos_embed(embedding, [after, after], num_prefix_tokens=prefix)
    assert np.abs(ours - expected.numpy()).max() <= 1e-6
    grid = embedding[:, prefix:].double().reshape(1, before, before, 6).permute(0, 3, 1, 2)
    exact = functional.interpolate(grid, (after, after), mode="bicubic", antialias=True)
    exact = exact.permute(0, 2, 3, 1).reshape(1, -1, 6).numpy()
    ours = resize_positions(embedding.double().numpy(), after, prefix)
    assert np.abs(ours[:, prefix:] - exact).max() <= 1e-14


@pytest.mark.parametrize(("before", "after"), [(7, 10), (7, 4), (8, 12), (4, 3), (7, 1)])
def test_tables_of_relative_positions_are_resized_as_timm_does(before, after):
    table = 0.1 * torch.randn((2 * before - 1) ** 2, 3, generator=torch.Generator().manual_seed(0))
    expected = resize_rel_pos_bias_table(table, (after, after), ((2 * after - 1) ** 2, 3)).numpy()
    assert np.abs(resize_table(table.numpy(), after) - expected).max() <= 1e-6


@pytest.mark.long
@pytest.mark.parametrize("size", [64, 256])
def test_maxvit_takes_multiples_of_32(tmp_path, size, capsys):
    """Windows of a whole last map, as its authors fine-tune; a network of torchvision with the resized tables."""
    net = torchvision.models.maxvit_t(num_classes=4)
    save_file(net.state_dict(), path := tmp_path / "model.safetensors")
    model = load("maxvit_t", path, size)
    assert f"windows resized from 7 x 7 to {size // 32} x {size // 32} places" in capsys.readouterr().err
    arrays, shape = model.weights(), (size // 32,) * 2
    for name, value in net.state_dict().items():
        if name.endswith("relative_position_bias_table"):
            area = (2 * shape[0] - 1) ** 2
            value = resize_rel_pos_bias_table(value, shape, (area, value.shape[1]))
        if name in arrays:
            assert np.abs(arrays[name] - value.numpy()).max() <= 1e-6, name
    assert np.isfinite(model.logits(pixels(size))).all()
    if size == 64:
        with pytest.raises(UsageError, match="torchvision's maxvit_t does not take 64 pixels"):
            xfer.export(model, tmp_path / "out", to="torchvision")


@pytest.mark.long
@pytest.mark.parametrize("size", [96, 352])
def test_torchvisions_vit_takes_other_sizes(tmp_path, size):
    """Pre-trained at 224 pixels; torchvision's tensors have timm's embeddings after the renaming."""
    net = timm.create_model("vit_base_patch32_224", num_classes=3).eval()
    save_file(net.state_dict(), path := tmp_path / "model.safetensors")
    model = load("vit_b_32", path, size)
    net.set_input_size((size, size))
    assert np.abs(model.weights()["encoder.pos_embedding"] - net.pos_embed.detach().numpy()).max() <= 1e-6
    with torch.inference_mode():
        expected = net.double()(model.normalise(pixels(size))).numpy()
    assert np.abs(model.logits(pixels(size)) - expected).max() <= 1e-5 * np.abs(expected).max()
