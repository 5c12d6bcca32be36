"""The command line without a framework: help, what there is, and wrong use."""

import json

import pytest
from typer.testing import CliRunner

import xfer
from tests.suites.command_line import document, xfer_command
from xfer.cli import with_default_epochs
from xfer.cli.app import app
from xfer.errors import UnknownNameError, UsageError
from xfer.specs.settings import RunSettings
from xfer.workflows.config import run_settings


def test_every_field_is_an_option_of_train_and_compare():
    for command, without in (("train", {"data"}), ("compare", {"data", "backend"})):
        text = xfer_command(command, "--help").stdout
        for name in set(RunSettings.model_fields) - without:
            assert f"--{name.replace('_', '-')}"[:14] in text, name


def test_version_and_models():
    assert xfer_command("--version").stdout.strip() == xfer.__version__
    rows = document(xfer_command("models", "--json"))
    assert [row["name"] for row in rows] == [card.name for card in xfer.zoo.cards()]
    assert "efficientnet_lite0" in xfer_command("models").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train",), "data"),
        (("train", "digits", "--model", "resnet5O"), "did you mean 'resnet5"),
        (("train", "digits", "--backend", "torhc"), "did you mean 'torch'"),
        (("train", "digits", "--optimizer", "adm"), "adm"),
        (("train", "digits", "--epochs", "0"), "give at least one epoch"),
        (("train", "digits", "--lr", "-1"), "option lr=-1: give more than 0"),
        (("train", "digits", "--augment", "flop"), "did you mean 'flip'"),
        (("train", "digits", "--config", "nowhere.toml"), "cannot read the configuration nowhere.toml"),
        (("evaluate", "nowhere", "digits"), "unknown model 'nowhere'"),
        (("compare", "digits", "--backends", "torch"), "two or more"),
        (("nonsense",), "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_use_is_exit_code_2_and_no_traceback(arguments, message, tmp_path):
    out = ("--out", tmp_path / "run") if arguments[0] in ("train", "compare") else ()
    result = xfer_command(*arguments, *out, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_unknown_keys_of_a_file_name_the_nearest(tmp_path):
    (tmp_path / "xfer.toml").write_text('data = "digits"\nepoch = 3\n')
    result = xfer_command("train", "--config", "xfer.toml", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: unknown option 'epoch'; did you mean 'epochs'")


def test_missing_data_is_exit_code_1_for_a_run_that_failed(tmp_path):
    result = xfer_command("train", tmp_path / "photos", "--out", tmp_path / "run")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "photos" in result.stderr


def test_several_processes_refuse_in_one_line(tmp_path):
    """Both say the same; the command says it once."""
    command = ["train", "digits", "--backend", "xfer.testing:NumpyBackend", "--model", "tiny", "--weights", "none"]
    result = CliRunner().invoke(
        app, [*command, "--image-size", "16", "--processes", "2", "--out", str(tmp_path / "run")]
    )
    assert result.exit_code == 1
    assert "works in one process, and a launcher started 2" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    wrong = CliRunner().invoke(app, [*command, "--epochs", "0", "--processes", "2"])
    assert wrong.exit_code == 2, "before anything is started"


def test_another_number_of_processes_than_the_launcher_has_started(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    result = CliRunner().invoke(app, ["train", "digits", "--processes", "2"])
    assert result.exit_code == 2
    assert "processes=2, but a launcher has started 4 (WORLD_SIZE): leave processes out" in result.stderr


def test_later_layers_override_and_none_is_not_given():
    config = run_settings({"data": "x", "epochs": 2, "lr": 0.5}, {"epochs": 4, "lr": None})
    assert (config.epochs, config.lr) == (4, 0.5)
    with pytest.raises(UnknownNameError, match="did you mean 'batch_size'"):
        run_settings({"data": "x", "batchsize": 1})
    with pytest.raises(UsageError, match="option data is missing: give it"):
        run_settings({})
    assert json.loads(run_settings({"data": "x", "hidden": "8,4"}).model_dump_json())["hidden"] == [8, 4]


def test_fine_tune_may_stand_without_a_number():
    assert with_default_epochs(["train", "x", "--fine-tune"]) == ["train", "x", "--fine-tune", "5"]
    assert with_default_epochs(["--fine-tune", "--lr", "1"]) == ["--fine-tune", "5", "--lr", "1"]
    assert with_default_epochs(["--fine-tune", "3", "x"]) == ["--fine-tune", "3", "x"]


@pytest.mark.parametrize(
    ("options", "backends"), [([], ["torch"]), (["--backends", "tensorflow, torch"], ["tensorflow", "torch"])]
)
def test_options_of_compare_override_the_file(options, backends, tmp_path, monkeypatch):
    (tmp_path / "xfer.toml").write_text('data = "digits"\nbackends = "torch"\n')
    asked = []
    monkeypatch.setattr("xfer.cli.compare._compare", lambda settings, names, out, json: asked.append(names))
    CliRunner().invoke(app, ["compare", "--config", str(tmp_path / "xfer.toml"), *options])
    assert [[name.strip() for name in names] for names in asked] == [backends]
