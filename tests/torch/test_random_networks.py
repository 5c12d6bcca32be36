"""Random modules behind BaseModel."""

import torch
from hypothesis import given
from torch import nn

from tests.suites.random_networks import RandomNetworks, examples, plans

WIDTH = 4


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(WIDTH, WIDTH, 3, 1, 1), nn.BatchNorm2d(WIDTH), nn.Dropout(0.2)

    def forward(self, x):
        return x + self.drop(self.norm(self.conv(x)))


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 3, 1, 1, bias=False)
        self.again = self.left  # the same layer under two names

    def forward(self, x):
        return self.left(x) + self.right(self.again(x))


class Masked(nn.Module):
    """A buffer that is no statistic, and one that training moves."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", (torch.rand(WIDTH, 1, 1) > 0.3))
        self.register_buffer("level", torch.rand(1))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)
        self.scale = nn.Parameter(torch.rand(WIDTH, 1, 1))

    def forward(self, x):
        if self.training:
            self.level.mul_(0.9).add_(0.1 * x.detach().mean())
        return x * self.mask * self.scale + self.level


class Keeping(nn.Module):
    """It keeps a tensor from one pass to the next."""

    def __init__(self):
        super().__init__()
        self.kept = None
        self.conv = nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, x):
        if self.kept is None or self.kept.device != x.device:
            self.kept = (
                torch.linspace(0, 1, x.shape[-1], device=x.device).to(x) * self.conv.weight.detach().mean() * 0 + 1
            )
        return self.conv(x) * self.kept


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, dropout=0.1, batch_first=True)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        found, _ = self.attention(tokens, tokens, tokens)
        return found.transpose(1, 2).reshape(x.shape)


KINDS = {
    "conv": lambda: nn.Conv2d(WIDTH, WIDTH, 3, 1, 1),
    "sequence": lambda: nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.BatchNorm2d(WIDTH), nn.ReLU()),
    "batch norm": lambda: nn.BatchNorm2d(WIDTH),
    "plain batch norm": lambda: nn.BatchNorm2d(WIDTH, affine=False),
    "cumulative": lambda: nn.BatchNorm2d(WIDTH, momentum=None),
    "instance norm": lambda: nn.InstanceNorm2d(WIDTH, affine=False, track_running_stats=True),
    "group norm": lambda: nn.GroupNorm(2, WIDTH),
    "dropout": lambda: nn.Dropout(0.2),
    "tanh": lambda: nn.Tanh(),
    "residual": Residual,
    "branches": Branches,
    "masked": Masked,
    "keeping": Keeping,
    "attention": Attention,
    "spectral": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(WIDTH, WIDTH, 3, 1, 1)),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(WIDTH, WIDTH, 1)),
}
NAMES = ("features", "head", "input", "head_", "norm1", "layer", "x")


class Net(nn.Module):
    """Layers, with a parameter and a buffer at the root, and dropout before the head."""

    def __init__(self, kinds, seed):
        super().__init__()
        self.names = []
        self.gain = nn.Parameter(torch.rand(1) + 0.5)
        self.register_buffer("offset", torch.rand(1))
        self.stem = nn.Conv2d(3, WIDTH, 3, 2, 1, bias=seed % 2 == 0)
        for i, kind in enumerate(kinds):
            self.names.append(NAMES[(seed + i) % len(NAMES)])
            self.add_module(self.names[-1], KINDS[kind]())
        self.drop = nn.Dropout(0.2)
        last = nn.Linear(WIDTH, 5, bias=seed % 3 > 0)
        self.fc = nn.Sequential(nn.Dropout(0.1), last) if seed % 5 == 0 else last

    def forward(self, x):
        x = self.stem(x * self.gain + self.offset)
        for name in self.names:
            x = getattr(self, name)(x)
        return self.fc(self.drop(x.mean((2, 3))))


class TestTorch(RandomNetworks):
    backend = "torch"

    def build(self, plan, seed):
        torch.manual_seed(seed)
        return Net(plan.layers, plan.seed), "fc"

    def state(self, native):
        return {name: tensor.detach().numpy().copy() for name, tensor in native.state_dict().items()}

    def block_of(self, model, plan, name):
        if name.startswith("fc."):
            return None
        first = 0  # what is at the root belongs to the first
        prefixes = [prefix for block in list(model.card.blocks.values()) for prefix in block[:1]]
        found = [i for i, prefix in enumerate(prefixes) if name.startswith(prefix + ".")]
        return found[0] if found else first

    def of_head(self, model, state):
        return {name for name in state if name.startswith("fc.")}

    def trained(self, name):
        return "mask" not in name and "_u" not in name

    @examples(100)
    @given(plans(sorted(KINDS)))
    def test_any_network(self, plan):
        self.check(plan)
