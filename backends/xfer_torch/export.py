"""Files of a network on torch: ONNX, torch.export, and a state dict of torchvision's own module."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from xfer.errors import UsageError
from xfer.models.network import WRAPPED
from xfer.models.spec import ModelSpec
from xfer.specs.exported import COLUMNS, IMAGE, ExportJob, Output
from xfer.zoo import card
from xfer.zoo.maxvit import SIDE, partition
from xfer_torch.model import TorchModel, joined

_SCRIPT = '''\
"""{name} for {classes} classes: `probabilities` of uint8 RGB images (N, {size}, {size}, 3)."""

import torch
import torchvision
{imports}
net = torchvision.models.{name}({options})
{head}net.load_state_dict({load})
net.eval()


def probabilities(image):
    x = (image / 255 - torch.tensor({mean})) / torch.tensor({std})
    with torch.inference_mode():
        return torch.softmax(net(x.permute(0, 3, 1, 2)) / {temperature}, dim=1)
'''


class Program(nn.Module):
    """The whole model: uint8 (N, S, S, 3), and columns (N, C) if it reads any, to its outputs (N, K)."""

    def __init__(self, model: TorchModel, outputs: Sequence[Output]) -> None:
        super().__init__()
        self.backbone, self.head = _parts(model)
        self.outputs = outputs
        for name, values in (("mean", model.spec.preprocessing.mean), ("std", model.spec.preprocessing.std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1))
        for output in outputs:
            self.register_buffer(f"mean_of_{output.name}", torch.tensor(output.mean or [0.0]))
            self.register_buffer(f"std_of_{output.name}", torch.tensor(output.std or [1.0]))

    def forward(self, image: Tensor, columns: Tensor | None = None) -> tuple[Tensor, ...]:
        """One tensor for each output."""
        x = (image.permute(0, 3, 1, 2).to(torch.float32) / 255 - self.mean) / self.std
        logits = self.head(joined(self.backbone(x), columns))
        return tuple(self._answer(output, logits[:, output.start : output.stop]) for output in self.outputs)

    def _answer(self, output: Output, z: Tensor) -> Tensor:
        if output.kind == "single-label":
            return torch.softmax(z / output.temperature, dim=1)
        if output.kind == "multi-label":
            return torch.sigmoid(z)
        return z * getattr(self, f"std_of_{output.name}") + getattr(self, f"mean_of_{output.name}")


def _parts(model: TorchModel) -> tuple[nn.Module, nn.Module]:
    """What gives the features, and the head, in inference mode; copies, so that nothing happens to the model's own."""
    if model.card.family == WRAPPED:
        whole, head = copy.deepcopy((model.native, model.native.get_submodule(model.card.head)))
        _same_output(model)
        return whole.float().eval(), nn.Identity()
    stages = copy.deepcopy(model.stages)
    head = stages.pop("head")
    return nn.Sequential(*stages.values()).eval(), head.eval()


def _same_output(model: TorchModel) -> None:
    """Refuse a wrapped network whose own output is not that of its head."""
    size = model.spec.preprocessing.size
    images = torch.zeros(2, size, size, 3, dtype=torch.uint8).numpy()
    model.set_training(False)
    with torch.no_grad():
        given = model.native(model.normalise(images))
    if not torch.equal(given.cpu(), torch.from_numpy(model.logits(images)).to(given.dtype)):
        raise UsageError(
            f"{model.name} does something with the logits of its head, which xfer leaves out and an export cannot: "
            "return them as they are"
        )


def write(model: TorchModel, job: ExportJob) -> None:
    """Write a file of one of `WRITERS`."""
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")
        WRITERS[job.format](model, job)


def _onnx(model: TorchModel, job: ExportJob) -> None:
    import onnx

    inputs = _examples(model.spec)
    level, logger = logging.getLogger("torch.onnx").level, logging.getLogger("torch.onnx")
    logger.setLevel(logging.ERROR)
    try:
        torch.onnx.export(
            Program(model, job.outputs),
            tuple(inputs.values()),
            job.path,
            dynamo=True,
            dynamic_shapes=_dynamic(inputs),
            input_names=list(inputs),
            output_names=[output.name for output in job.outputs],
            external_data=False,
            verbose=False,
        )
    finally:
        logger.setLevel(level)
    written = onnx.load(job.path)
    onnx.helper.set_model_props(written, job.metadata)
    onnx.save(written, job.path)


def _torch_export(model: TorchModel, job: ExportJob) -> None:
    inputs = _examples(model.spec)
    program = torch.export.export(
        Program(model, job.outputs), tuple(inputs.values()), dynamic_shapes=_dynamic(inputs), strict=False
    )
    torch.export.save(program, job.path, extra_files=dict(job.metadata))


def _torchvision(model: TorchModel, job: ExportJob) -> None:
    """The state dict, and beside it a script of the same name that builds the network of torchvision with it."""
    spec, path = model.spec, Path(job.path)
    if spec.card.name not in torchvision.models.list_models():
        raise UsageError(f"torchvision has no {spec.card.name}: give --to torch-export or onnx")
    if spec.card.windows and partition(spec.preprocessing.size) != SIDE:
        size = spec.preprocessing.size
        raise UsageError(f"torchvision's {spec.card.name} does not take {size} pixels: give --to torch-export or onnx")
    if spec.tasks or spec.columns or (spec.card.head_per_place and not spec.head.linear):
        what = "several tasks" if spec.tasks else "columns" if spec.columns else "hidden layers for each place of a map"
        raise UsageError(f"torchvision has no network with {what}: give --to torch-export or onnx")
    without = tuple(f"{branch.name}." for branch in card(model.name).auxiliary)  # they rest in inference
    state = {n: t.detach().cpu().float() for n, t in model.native.state_dict().items() if not n.startswith(without)}
    if model.card.head_per_place:  # torchvision's is a convolution of one pixel
        name = f"{model.card.head}.weight"
        state[name] = state[name][:, :, None, None]
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    if path.suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path, metadata=job.metadata)
    path.with_suffix(".py").write_text(_script(spec, job), "utf-8")


def _script(spec: ModelSpec, job: ExportJob) -> str:
    path = f'__file__.removesuffix(".py") + "{Path(job.path).suffix}"'
    pickled, imports, head = job.path.endswith(".pth"), [], ""
    if not pickled:
        imports.append("from safetensors.torch import load_file")
    if not spec.head.linear:
        imports += ["from collections import OrderedDict", "from torch import nn"]
        head = f'net.set_submodule("{spec.card.head}", {_hidden(spec)})\n'
    return _SCRIPT.format(
        name=spec.card.name,
        classes=len(spec.classes),
        size=spec.preprocessing.size,
        imports="".join(f"{line}\n" for line in imports),
        options=", ".join(f"{name}={value!r}" for name, value in _options(spec).items()),
        head=head,
        load=f"torch.load({path}, weights_only=True)" if pickled else f"load_file({path})",
        mean=spec.preprocessing.mean,
        std=spec.preprocessing.std,
        temperature=job.outputs[0].temperature,
    )


def _options(spec: ModelSpec) -> dict[str, object]:
    """Arguments of torchvision's function."""
    options: dict[str, object] = {"weights": None, "num_classes": len(spec.classes)}
    if spec.card.family == "vit":
        options["image_size"] = spec.preprocessing.size
    if spec.card.family == "maxvit":
        options["input_size"] = (spec.preprocessing.size, spec.preprocessing.size)
    if card(spec.card.name).auxiliary:
        options |= {"aux_logits": False, "init_weights": False}
    return options


def _hidden(spec: ModelSpec) -> str:
    """The code of a head with hidden layers, of torch's own modules."""
    layers, width = list[str](), spec.head_inputs
    norm = {"batch": "BatchNorm1d", "layer": "LayerNorm"}
    for i, hidden in enumerate(spec.head.hidden):
        layers.append(f'"hidden{i}": nn.Linear({width}, {hidden})')
        if spec.head.norm:
            layers.append(f'"norm{i}": nn.{norm[spec.head.norm]}({hidden})')
        layers.append(f'"relu{i}": nn.ReLU()')
        width = hidden
    layers.append(f'"out": nn.Linear({width}, {len(spec.classes)})')
    return f"nn.Sequential(OrderedDict({{{', '.join(layers)}}}))"


def _examples(spec: ModelSpec) -> dict[str, Tensor]:
    """Inputs by name, of two images: a batch of one would be taken for the only size there is."""
    size = spec.preprocessing.size
    inputs = {IMAGE: torch.zeros(2, size, size, 3, dtype=torch.uint8)}
    return inputs | ({COLUMNS: torch.zeros(2, spec.columns)} if spec.columns else {})


def _dynamic(inputs: dict[str, Tensor]) -> tuple[dict[int, object], ...]:
    """N of every input is free."""
    return tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)


WRITERS: dict[str, Callable[[TorchModel, ExportJob], None]] = {
    "onnx": _onnx,
    "torch-export": _torch_export,
    "torchvision": _torchvision,
}
