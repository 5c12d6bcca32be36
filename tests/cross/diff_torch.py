"""Plain PyTorch training, recorded: `python diff_torch.py runs.json FOLDER`; a fault is an option of a run."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import diff_data
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import xfer


class Net(nn.Module):
    def __init__(self, o):
        super().__init__()
        eps, momentum = o.get("eps", 1e-5), o.get("momentum", 0.1)
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=0 if o.get("same") else 1)
        self.bn1 = nn.BatchNorm2d(8, eps=eps, momentum=momentum)
        self.gelu = nn.ReLU() if o.get("relu") else nn.GELU(approximate="tanh" if o.get("gelu_tanh") else "none")
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8, eps=eps, momentum=momentum)
        self.dropout = nn.Dropout(o.get("dropout", 0.0))
        self.fc1, self.fc2 = nn.Linear(128, 16), nn.Linear(16, 4)
        self.o = o

    def forward(self, x):
        if self.o.get("same"):
            x = F.pad(x, (0, 1, 0, 1))
        x = self.gelu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(x, 2) if self.o.get("average") else F.max_pool2d(x, 2)
        x = x.permute(0, 2, 3, 1) if self.o.get("flatten") else x
        x = F.relu(self.fc1(self.dropout(torch.flatten(x, 1))))
        x = self.fc2(x.detach() if self.o.get("detached") else x)
        return F.softmax(x, 1) if self.o.get("softmax") else x


def optimizer_of(o, parameters):
    rate, decay = o.get("lr", 0.05), o.get("decay", 0.0)
    if o.get("adam"):
        return torch.optim.Adam(parameters, lr=0.01, eps=o.get("adam_eps", 1e-8), weight_decay=decay)
    if o.get("adamw"):
        return torch.optim.AdamW(parameters, lr=0.01, weight_decay=decay)
    return torch.optim.SGD(
        parameters, lr=rate, momentum=o.get("mu", 0.9), nesterov=bool(o.get("nesterov")), weight_decay=decay
    )


def train(o, out):
    dtype = torch.float64 if o.get("float64") else torch.float32
    model = Net(o).to(dtype)
    state = {name: torch.from_numpy(array) for name, array in diff_data.weights().items()}
    model.load_state_dict(state, strict=False)
    model.train()
    for norm in () if o.get("live") else (model.bn1, model.bn2):
        norm.requires_grad_(False)
        if not o.get("forgotten"):
            norm.eval()
    if o.get("frozen"):
        model.conv2.requires_grad_(False)
    torch.manual_seed(0)
    optimizer = optimizer_of(o, [p for p in model.parameters() if p.requires_grad])
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 - 0.25 * k if o.get("schedule") else 1.0)
    weights = torch.tensor(o["weights"], dtype=dtype) if "weights" in o else None
    reduction, smoothing = o.get("reduction", "mean"), o.get("smoothing", 0.0)
    loss_of = nn.CrossEntropyLoss(weights, reduction=reduction, label_smoothing=smoothing)
    losses = []
    with xfer.record(model, optimizer, out, classes=diff_data.CLASSES) if out else nullcontext() as recorder:
        for images, labels, raw in diff_data.batches(o):
            x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(dtype)
            y = torch.from_numpy(labels)
            if not o.get("accumulating"):
                optimizer.zero_grad()
            loss = loss_of(model(x), y)
            if o.get("penalty"):
                loss = loss + o["penalty"] * sum(p.square().sum() for p in model.parameters() if p.ndim > 1)
            (loss * o.get("factor", 1)).backward()
            if "clip" in o:
                torch.nn.utils.clip_grad_norm_(model.parameters(), o["clip"])
            optimizer.step()
            rates.step()
            losses.append(loss.item())
            if recorder:
                recorder.step(x, y, loss, weights, raw=raw if o.get("raw") else ())
    return losses, [p.detach().numpy() for p in model.state_dict().values()]


if __name__ == "__main__":
    torch.set_num_threads(1)
    runs, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    for name, options in runs.items():
        losses, weights = train(options, folder / name)
        if options.get("plain"):  # the same run without a recorder
            losses_alone, weights_alone = train(options, None)
            same = losses == losses_alone and all(map(np.array_equal, weights, weights_alone))
            (folder / name / "same.txt").write_text(str(same))
