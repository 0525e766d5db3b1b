"""Fine-tuning: which weights a training starts from, a plain loop from them, and runs that do not fit."""

import json
import shutil

import pytest
import torch

import nas_lightning as nl
from conftest import write_images
from lightning_parts import CrashOnce
from nas_lightning.config.compose import as_dict
from nas_lightning.config.schema import validate
from nas_lightning.core.genotypes import Genotype
from nas_lightning.deployment.description import plain_weights
from nas_lightning.evaluation import transfer
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.pipeline import run_pipeline


def saved(folder):
    return torch.load(folder / "checkpoints/evaluation/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def first(tiny, tmp_path):
    """A run that has trained a network by a moving average, and the words of a second one on images of two classes."""
    words = [*tiny, "space.num_nodes=2"]
    nl.evaluate(nl.compose([*words, "evaluation.ema_decay=0.5"]), "random", run_dir=tmp_path / "first")
    write_images(tmp_path / "two.npz", classes=2)
    own = [word for word in words if not word.startswith("data.path")]
    return [*own, f"data.path={tmp_path / 'two.npz'}", f"evaluation.weights_of={tmp_path / 'first'}"]


def genotype_of(folder):
    return Genotype.from_dict(json.loads((folder / "genotype.json").read_text()), "genotype.json")


def test_a_training_starts_from_the_averages_with_a_new_classifier(first, tmp_path):
    """With a rate of nearly zero the weights after training are those before it."""
    words = [*first, "evaluation.lr=1e-30", "evaluation.weight_decay=0"]
    genotype = genotype_of(tmp_path / "first")
    nl.evaluate(nl.compose(words), genotype, run_dir=tmp_path / "second")
    before, after = plain_weights(saved(tmp_path / "first")), plain_weights(saved(tmp_path / "second"))
    assert before.keys() == after.keys()
    for name, value in after.items():
        if name.startswith("classifier."):
            assert len(value) == 2
        elif "running" not in name and "num_batches" not in name:
            assert torch.equal(value, before[name]), name
    raw = {k.removeprefix("network."): v for k, v in saved(tmp_path / "first").items()}
    assert any(not torch.equal(after[n], raw[n]) for n in after if n.endswith("weight") and "classifier" not in n)


@pytest.mark.slow
def test_a_fine_tuning_resumes_to_the_bit_without_the_other_run(first, tmp_path):
    words = [*first, "trusted=[lightning_parts]", "+callbacks.crash._target_=lightning_parts.CrashOnce"]
    words += ["+callbacks.crash.phase=evaluation", "+callbacks.crash.epoch=1"]
    genotype = genotype_of(tmp_path / "first")
    CrashOnce.armed = False
    nl.evaluate(nl.compose(words), genotype, run_dir=tmp_path / "whole")
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        nl.evaluate(nl.compose(words), genotype, run_dir=tmp_path / "cut")
    shutil.rmtree(tmp_path / "first")
    nl.resume(tmp_path / "cut")
    whole, cut = saved(tmp_path / "whole"), saved(tmp_path / "cut")
    assert all(torch.equal(cut[name], value) for name, value in whole.items())


def test_what_does_not_fit_is_refused_before_anything_is_written(first, tmp_path):
    genotype = genotype_of(tmp_path / "first")

    def refused(message, *words, found=genotype):
        with pytest.raises(nl.ConfigError, match=message) as error:
            nl.evaluate(nl.compose([*first, *words]), found, run_dir=tmp_path / "second")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "second").exists()

    refused(r"its network has another genotype; use genotype=", "seed=5", found="random")
    refused(r"its network has init_channels=4, not 8; use evaluation\.init_channels=4", "evaluation.init_channels=8")
    refused(r"evaluation\.random_baseline=2: random genotypes have no weights", "evaluation.random_baseline=2")
    refused(r"evaluation\.weights_of=nowhere: there is no run", "evaluation.weights_of=nowhere")
    (tmp_path / "first/network.json").unlink()
    refused(r"it has no network that was trained on images to the end")


def test_a_search_finds_a_network_of_its_own(first, tmp_path):
    with pytest.raises(nl.ConfigError, match=r"task=pipeline finds a network of its own; use task=evaluate genotype="):
        run_pipeline(validate(as_dict(nl.compose(first))), RunFolder(tmp_path / "second"))


def test_the_space_must_be_that_of_the_run(first, tmp_path):
    run = str(tmp_path / "first")
    space = json.loads((tmp_path / "first/network.json").read_text())["space"]
    sizes = {"init_channels": 4, "layers": 3, "stem": "cifar", "in_channels": 1}
    transfer.check_sizes(run, space, sizes)
    with pytest.raises(
        nl.ConfigError, match=r"of another space, space\.num_nodes=2 and not 3; use the space of that run"
    ):
        transfer.check_sizes(run, {**space, "num_nodes": 3}, sizes)
    with pytest.raises(nl.ConfigError, match=r"of another space, space\.name=s3 and not s4"):
        transfer.check_sizes(run, {**space, "name": "s4", "num_nodes": 3}, sizes)
    with pytest.raises(nl.ConfigError, match=r"has in_channels=1, not 3; use images with so many channels"):
        transfer.check_sizes(run, space, {**sizes, "in_channels": 3})
