"""What a configuration, a checkpoint or a folder of images may not do."""

import os

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import nas_lightning as nl
from nas_lightning.config.parts import check_part, target_of
from nas_lightning.data import Arrays, ImageFolder
from nas_lightning.runs.folder import RunFolder


class Touch:
    """A pickle of this runs a command when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.os.system",  # a trusted module has imported another for itself
        "nas_lightning.runs.versions.subprocess.run",
        "nas_lightning.cli.main.sys.exit",
        "nas_lightning.runs.folder.Path",  # or one class of it
        "torch.builtins.eval",
        "torch.load",
        "torch.hub.load",
        "torch.utils.cpp_extension.load",
        "nas_lightning.cli.main.main.__globals__.get",
    ],
)
def test_targets_outside_of_trusted_packages(target):
    with pytest.raises(nl.ConfigError, match=r"targets come from|runs code from a file|names with __|no such class"):
        target_of("callbacks.x", {"_target_": target})


@pytest.mark.parametrize(
    "target", ["torch.nn.ReLU", "torch.relu", "torchvision.transforms.v2.Pad", "lightning.Trainer"]
)
def test_targets_of_trusted_packages(target):
    assert callable(target_of("callbacks.x", {"_target_": target}))


@pytest.mark.parametrize(
    "hidden",
    [
        {"_target_": "os.system"},
        {"_target_": "torch.nn.ReLU", "_partial_": True, "inplace": {"_target_": "os.system"}},
        [{"_target_": "os.system"}],
        {"plain": [{"deep": {"_target_": "os.system"}}]},
    ],
)
@pytest.mark.parametrize("key", ["device", "_args_"])
def test_nested_targets_are_checked_wherever_they_stand(hidden, key):
    problems = check_part("callbacks.x", {"_target_": "torch.nn.Identity", "_partial_": True, key: hidden})
    assert any("os.system: targets come from" in problem for problem in problems)


SECRET = "hush-hush-hush-1234"


@pytest.mark.parametrize(
    "override",
    [
        f"+logger.wandb.api_key={SECRET}",
        f"+hydra.job.env_set.WANDB_API_KEY={SECRET}",
        f"+hydra.job.env_set={{WANDB_API_KEY: {SECRET}}}",
        f"+callbacks.x.password={SECRET}",
        f"logger.mlflow.tracking_uri=https://me:{SECRET}@server",
        "tags=['${oc.env:MY_TOKEN}']",
    ],
)
def test_secrets_are_refused_and_not_repeated(override, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", SECRET)
    with pytest.raises(nl.ConfigError, match=r"=\*\*\*: refused") as caught:
        nl.compose(["logger=[wandb,mlflow]", override])
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_leaves_no_trace_on_disk(tiny, tmp_path, capsys):
    from nas_lightning.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main([*tiny, "logger=wandb", f"+logger.wandb.api_key={SECRET}", "hydra.run.dir=run"])
    assert stop.value.code == 2
    assert SECRET not in "".join(capsys.readouterr())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("innocent", ["tags=[api_key]", "sweep=tokens", "genotype=some/path:with@signs"])
def test_ordinary_words_are_no_secrets(innocent):
    key, _, value = innocent.partition("=")
    assert nl.compose([innocent])[key] == yaml.safe_load(value)


def test_a_checkpoint_that_holds_code_is_refused_and_the_code_not_run(searched, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.mkdir(parents=True)
    saved = torch.load(searched / "checkpoints/last.ckpt", weights_only=True)
    torch.save({**saved, "code": Touch(tmp_path / "touched")}, folder.checkpoints / "last.ckpt")
    with pytest.raises(nl.ConfigError, match=r"checkpoints/last\.ckpt is damaged"):
        folder.checkpoint("last.ckpt")
    assert not (tmp_path / "touched").exists()
    torch.load(folder.checkpoints / "last.ckpt", weights_only=False)
    assert (tmp_path / "touched").exists()  # the file is one that would have


def test_arrays_that_hold_code_are_refused_and_the_code_not_run(tmp_path):
    touch = np.array([Touch(tmp_path / "touched")], dtype=object)
    np.savez(tmp_path / "bad.npz", x_train=touch, y_train=[0], x_test=touch, y_test=[0])
    with pytest.raises(nl.ConfigError, match=r"not a readable \.npz file"):
        Arrays(str(tmp_path / "bad.npz")).prepare()
    assert not (tmp_path / "touched").exists()
    np.load(tmp_path / "bad.npz", allow_pickle=True)["x_train"]
    assert (tmp_path / "touched").exists()


@pytest.fixture
def photos(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(4):
            pixels = np.full((24, 24, 3), 40 * index, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    Image.fromarray(np.zeros((24, 24, 3), dtype=np.uint8)).save(tmp_path / "secret.png")
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(np.zeros((24, 24, 3), dtype=np.uint8)).save(tmp_path / "elsewhere/0.png")
    Image.fromarray(np.zeros((24, 24, 3), dtype=np.uint8)).save(tmp_path / "elsewhere/1.png")
    return tmp_path / "photos"


def prepared(path, **options):
    data = ImageFolder(str(path), **options)
    data.prepare()
    return data


@pytest.mark.parametrize(("link", "target"), [("cat/9.png", "secret.png"), ("fox", "elsewhere")])
def test_links_out_of_a_folder_of_images(photos, tmp_path, link, target):
    (photos / link).symlink_to(tmp_path / target)
    with pytest.raises(nl.ConfigError, match=r"is a link to .*data\.follow_links=true"):
        prepared(photos)
    prepared(photos, follow_links=True)


def test_links_within_a_folder_and_to_the_folder(photos, tmp_path):
    (photos / "cat/9.png").symlink_to(photos / "dog/0.png")
    (tmp_path / "here").symlink_to(photos)
    assert len(prepared(tmp_path / "here").train_labels) > 0
