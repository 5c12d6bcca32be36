"""An option is one field of the settings: every other place is derived from it, for each field and for a new one."""

import inspect
import json
import re
import tomllib

import pytest
import typer
from typer.testing import CliRunner

import xfer
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.cli.app import app
from xfer.cli.guard import guarded
from xfer.cli.options import TITLES, settings_options
from xfer.errors import DataError, UnknownNameError, UsageError
from xfer.runtime import checksums
from xfer.specs.option import PANELS, about, option
from xfer.specs.settings import DataSettings, ModelSettings, RunSettings, TrainingSettings
from xfer.testing import NumpyBackend
from xfer.workflows.config import read_toml, run_settings
from xfer.workflows.run import train
from xfer.workflows.setup import model_of

FIELDS = dict(RunSettings.options())
# Another valid value of each option: as Python has it, and as the command line writes it where that differs.
OTHERS = {
    "data": ("photos", None),
    "processes": (2, None),
    "val": (0.3, None),
    "limit": (7, None),
    "columns": (("weight", "place"), "weight,place"),
    "imputer": ("knn", None),
    "tasks": ({"age": "regression"}, "age=regression"),
    "corrections": ("fix.csv", None),
    "model": ("resnet18", None),
    "weights": ("none", None),
    "backend": ("torch", None),
    "image_size": (64, None),
    "hidden": ((8, 4), "8,4"),
    "dropout": (0.25, None),
    "estimator": ("svm", None),
    "lora": (4, None),
    "lora_alpha": (8.0, None),
    "lora_layers": (("*.qkv", "layer1"), "*.qkv,layer1"),
    "missing_pixels": ("mean", None),
    "decode": ("draft", None),
    "precision": ("fp64", None),
    "device": ("cpu", None),
    "compile": (True, None),
    "deterministic": (False, None),
    "lr": ({"head": 0.1, "layer1": 0.01}, "head=0.1,layer1=0.01"),
    "layer_decay": (0.75, None),
    "optimizer": ("sgd", None),
    "momentum": (0.5, None),
    "nesterov": (True, None),
    "betas": ((0.8, 0.99), "0.8,0.99"),
    "eps": (1e-6, None),
    "weight_decay": (0.1, None),
    "l2_sp": (0.1, None),
    "drop_path": (0.2, None),
    "backbone_dropout": (0.2, None),
    "schedule": ("step", None),
    "warmup": (3, None),
    "milestones": ((0.25, 0.5), "0.25,0.5"),
    "gamma": (0.5, None),
    "clip_norm": (1.0, None),
    "batch_size": ("auto", None),
    "augment": ("flip", None),
    "mix": ("cutmix", None),
    "early_stopping": (2, None),
    "monitor": ("val_mcc", None),
    "restore_best": (False, None),
    "swa": (2, None),
    "ema": (0.9, None),
    "seed": (5, None),
    "loss": ("focal", None),
    "focal": (3.0, None),
    "label_smoothing": (0.1, None),
    "class_weights": ({"a": 1.0, "b": 2.5}, "a=1.0,b=2.5"),
    "sampling": ("over", None),
    "augment_minority": ("flip", None),
    "on_bad": ("raise", None),
    "cache": (False, None),
    "cache_views": (4, None),
    "image_memory": (0.5, None),
    "workers": (1, None),
    "epochs": (3, None),
    "train": ("biases", None),
    "fine_tune": (2, None),
    "unfreeze": (2, None),
    "fine_tune_lr": (1e-5, None),
    "train_norm": (True, None),
    "resample": ("smote", None),
    "pseudo_label": (0.9, None),
    "calibrate": (True, None),
    "thresholds": ("macro_f1", None),
    "checkpoint_seconds": (5.0, None),
    "checkpoint_steps": (10, None),
    "track": (("tensorboard",), "tensorboard"),
    "tensorboard": (True, None),
    "out": ("elsewhere", None),
}


def command_line(settings, arguments):
    """What a command with the options of a settings class is given for these arguments."""
    found = {}
    command = typer.Typer(pretty_exceptions_enable=False)

    @command.command()
    @guarded
    @settings_options(settings)
    def run(given: dict) -> None:
        found.update(given)

    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return settings.of(found)


def words(name, value, text):
    """An option as the command line writes it."""
    if name == "data":
        return [str(value)]
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return ["x", flag if value else f"--no-{flag[2:]}"]
    return ["x", flag, text or str(value)]


def test_the_list_of_values_above_has_every_option():
    assert OTHERS.keys() == FIELDS.keys()
    plain = RunSettings.of({"data": "x"})
    for name, (value, _) in OTHERS.items():
        assert getattr(plain, name) != value, name


@pytest.mark.parametrize("name", FIELDS)
def test_every_option_is_on_the_command_line_in_the_file_and_compared(name, tmp_path):
    value, text = OTHERS[name]
    expected = RunSettings.of({"data": "x", name: value})
    assert command_line(RunSettings, words(name, value, text)) == expected
    file = tmp_path / "xfer.toml"
    file.write_text("\n".join(f"{key} = {toml(v)}" for key, v in {"data": "x", name: value}.items()))
    assert tomllib.loads(file.read_text())
    assert run_settings(read_toml(file)) == expected
    assert RunSettings.of(json.loads(json.dumps(expected.document()))) == expected
    plain = RunSettings.of({"data": "x"}).document()
    assert expected.changed(plain) == ([name] if about(FIELDS[name]).result else [])


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


@pytest.mark.parametrize("name", TrainingSettings.model_fields)
def test_every_training_option_is_an_argument_of_the_trainer_that_a_run_stores(name, model, tmp_path):
    value = OTHERS[name][0]
    if name == "augment_minority":
        value = "flip"
    options = {"lr": {"head": 0.1, "layer1": 0.01}} if name == "lr" else {name: value}
    options |= {"optimizer": "sgd"} if name == "nesterov" else {}
    if name == "class_weights":
        options = {name: (1.0, 2.0, 0.5)}
    trainer = xfer.Trainer(model, progress=False, **options)
    assert getattr(trainer.settings, name) == options[name]
    assert name in inspect.signature(xfer.Trainer).parameters
    assert f"{name}: " in xfer.Trainer.__doc__
    trainer.save(tmp_path / "run")
    stored = open_checkpoint(tmp_path / "run").manifest.training.settings
    assert TrainingSettings.of(stored) == trainer.settings
    resumed = xfer.Trainer.resume(tmp_path / "run", backend=NumpyBackend(), progress=False)
    assert resumed.settings == trainer.settings
    field = TrainingSettings.model_fields[name]
    if about(field).on_resume:
        again = xfer.Trainer.resume(
            tmp_path / "run", backend=NumpyBackend(), progress=False, **{name: field.get_default()}
        )
        assert getattr(again.settings, name) == field.get_default()
    else:
        with pytest.raises(UsageError, match=f"{name} of a resumed run is that of the run"):
            xfer.Trainer.resume(tmp_path / "run", backend=NumpyBackend(), **{name: value})


@pytest.mark.parametrize("name", ModelSettings.model_fields)
def test_every_model_option_reaches_the_model(name, monkeypatch, data):
    """`xfer train` builds the model with it: in `load`'s arguments, in the head, or as adapters."""
    given = {}

    class Built:
        def __init__(self, model, **options):
            given.update(options, model=model)

        def add_lora(self, *arguments, seed):
            given["adapters"] = arguments

    monkeypatch.setattr("xfer.workflows.setup.load", Built)
    settings = {"data": "x", "backend": "torch", "weights": "imagenet", "lora": 2}
    model_of(RunSettings.of(settings), data)
    plain = dict(given)
    value = OTHERS[name][0]
    model_of(RunSettings.of({**settings, name: value if name != "backend" else "numpy"}), data)
    assert {key for key in given if str(given[key]) != str(plain[key])}, name


def test_every_data_option_is_read(monkeypatch):
    """`read_data` asks for each of them."""
    source = inspect.getsource(inspect.getmodule(model_of))
    assert all(f"config.{name}" in source for name in DataSettings.model_fields)


def test_a_new_option_is_one_field(model, tmp_path):
    class More(TrainingSettings):
        warp: float = option(1.5, "a factor that nobody needs", panel="training", ge=0)

    class MoreOfARun(More, RunSettings):
        pass

    class Trainer(xfer.Trainer):
        settings_type = More

    assert command_line(MoreOfARun, ["x", "--warp", "2.5"]).warp == 2.5
    command = typer.Typer()
    command.command()(settings_options(MoreOfARun)(lambda given: None))
    text = CliRunner().invoke(command, ["--help"], env={"COLUMNS": "200"}).output
    assert "a factor that nobody needs [default: 1.5]" in text[text.index(TITLES["training"]) :]
    assert MoreOfARun.of({"data": "x", **tomllib.loads("warp = 2.5")}).warp == 2.5
    with pytest.raises(UsageError, match="option warp=-1: give at least 0"):
        Trainer(model, warp=-1)

    trainer = Trainer(model, warp=2.5, progress=False)
    trainer.save(tmp_path / "run")
    assert open_checkpoint(tmp_path / "run").manifest.training.settings["warp"] == 2.5
    assert Trainer.resume(tmp_path / "run", backend=NumpyBackend(), progress=False).settings.warp == 2.5

    before = RunSettings.of({"data": "x"}).document()  # of a run that was made before the option
    assert MoreOfARun.of({"data": "x"}).changed(before) == []
    assert MoreOfARun.of({"data": "x", "warp": 2.5}).changed(before) == ["warp"]


def test_a_stored_setting_that_cannot_be_is_a_damaged_run(model, tmp_path):
    xfer.Trainer(model, progress=False).save(tmp_path)
    for change in ({"momentum": 7}, {"surprise": 1}, {"lr": []}):
        document = checksums.without_checksum((tmp_path / "manifest.json").read_bytes())
        document["training"]["settings"] |= change
        folder = tmp_path / "changed"
        folder.mkdir(exist_ok=True)
        for file in tmp_path.glob("*-*"):
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "manifest.json").write_bytes(checksums.with_checksum(document))
        with pytest.raises(xfer.XferError, match=r"is damaged: (unknown )?option") as error:
            xfer.Trainer.resume(folder, backend=NumpyBackend())
        assert "\n" not in str(error.value)


def test_help_lists_the_ten_common_options_first_and_every_option_once():
    text = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).output
    places = [text.index(TITLES[panel]) for panel in PANELS]
    assert places == sorted(places)
    common = [name for name, field in FIELDS.items() if about(field).panel == "common" and name != "data"]
    assert len(common) == 10
    for name in FIELDS.keys() - {"data"}:
        assert len(re.findall(rf"^│ --{name.replace('_', '-')} ", text, re.MULTILINE)) == 1, name


def test_what_cannot_be_is_one_line():
    for given, message in (
        ({}, "option data is missing"),
        ({"data": "x", "dta": 1}, "unknown option 'dta'; did you mean 'data'"),
        ({"data": "x", "optimizer": "sdg"}, "unknown optimizer 'sdg'; did you mean 'sgd'"),
        ({"data": "x", "lr": 0}, "option lr=0: give more than 0"),
        ({"data": "x", "lr": {"head": -1}}, "option lr=-1: give more than 0"),
        ({"data": "x", "momentum": 1.0}, "option momentum=1.0: give less than 1"),
        ({"data": "x", "epochs": "many"}, "option epochs=many: input should be a valid integer"),
        ({"data": "x", "eps": float("inf")}, "option eps=inf: input should be a finite number"),
        ({"data": "x", "betas": "0.9,1"}, "option betas=1: give less than 1"),
        ({"data": "x", "milestones": "10,20"}, "option milestones=10: give less than 1"),  # shares, not epochs
        ({"data": "x", "lr": "head=1e-3,layer4"}, "option lr=head=1e-3,layer4: 'layer4' has no value"),
        ({"data": "x", "class_weights": "a=1,a=2"}, "option class_weights=a=1,a=2: 'a' is given twice"),
        ({"data": "x", "tasks": "a=regression,b"}, "option tasks=a=regression,b: 'b' has no value"),
    ):
        with pytest.raises(UsageError, match=message) as error:
            RunSettings.of(given)
        assert "\n" not in str(error.value)
    with pytest.raises(UnknownNameError, match="unknown option 'larning_rate'"):
        xfer.Trainer(None, larning_rate=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "epochs and fine_tune are both 0"),
        ({"augment": "flop"}, "unknown augmentation 'flop'"),
        ({"augment_minority": "flop"}, "unknown augmentation 'flop'"),
        ({"mix": "mixin"}, "unknown mix 'mixin'"),
        ({"mix": "mixup", "cache_views": 3}, "leave one out"),
        ({"optimizer": "sgd", "momentum": 0, "nesterov": True}, "nesterov needs momentum"),
        ({"schedule": "onecycle", "warmup": 5}, "leave warmup at 0"),
        ({"ema": 0.9, "swa": 2}, "ema=0.9 and swa=2 are two averages of the weights: leave one out"),
        ({"monitor": "val_acuracy"}, "unknown metric 'acuracy'; did you mean 'accuracy'"),
        ({"monitor": "accuracy"}, "give 'loss', or 'val_accuracy'"),
        ({"thresholds": "f2"}, "unknown metric 'f2'"),
        ({"resample": "smoot"}, "unknown resampling method 'smoot'; did you mean 'smote'"),
        ({"resample": "smote", "augment": "light"}, "leave out augment and mix"),
        ({"estimator": "knn", "fine_tune": 2}, "leave out fine_tune"),
        ({"estimator": "knn", "mix": "mixup"}, "leave it out"),
        ({"estimator": "knn", "ema": 0.9}, "ema=0.9 is for training by gradients, which an estimator has not"),
        ({"estimator": "knn", "layer_decay": 0.9}, "layer_decay=0.9 is for training by gradients"),
        ({"l2_sp": 0.1, "weights": "none"}, "l2_sp=0.1 decays towards pretrained weights, and weights is none"),
        ({"tasks": "a=regression,b=regression", "calibrate": True}, "calibrate is for one task"),
        ({"tasks": "a=regression,b=regression", "thresholds": "accuracy"}, "thresholds is for one task"),
        ({"tasks": "a=regression,b=regression", "pseudo_label": 0.9}, "pseudo_label is for one task"),
        ({"tasks": "a=regression,b=regression", "estimator": "knn"}, "estimator is for one task"),
    ],
    ids=str,
)
def test_what_a_run_would_fail_at_later_is_refused_before_the_data_is_read(given, message, tmp_path):
    """The data is not there, and the folder of the run is not made."""
    out = tmp_path / "run"
    with pytest.raises(UsageError, match=message) as error:
        train(RunSettings.of({"data": str(tmp_path / "nowhere"), "out": str(out), **given}), progress=False)
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_monitors_of_several_tasks_begin_with_their_names(tmp_path):
    settings = {"data": str(tmp_path / "nowhere"), "out": str(tmp_path / "run"), "tasks": "age=regression"}
    with pytest.raises(DataError, match="nowhere"):
        train(RunSettings.of(settings | {"monitor": "val_age_mae"}), progress=False)


def test_constants_are_given_once(model):
    spec = xfer.OptimizerSpec("sgd", momentum=0.5)
    assert xfer.Trainer(model, optimizer=spec, progress=False).settings.momentum == 0.5
    assert xfer.Trainer(model, optimizer="sgd", momentum=0.5, progress=False).stepper.update.optimizer == spec
    assert xfer.Trainer(model, schedule=xfer.Schedule("step", 2, (0.5,), 0.2), progress=False).settings.gamma == 0.2
    with pytest.raises(UsageError, match="momentum is given beside optimizer="):
        xfer.Trainer(model, optimizer=spec, momentum=0.9)
