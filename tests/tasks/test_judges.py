"""What judges the candidates of a pool: the supernet of a finished search, against a plain loop; tables."""

import json
import shutil

import pytest
import torch

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.objective import ACCURACY
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module, search_data, stages_of
from nas_lightning.tasks.judges import SupernetJudge
from nas_lightning.tasks.run import run_task
from nas_lightning.training.workbench import Workbench

POOL = ["method=random_search", "candidates.key=null", "candidates.values=null", "trusted=[pool_parts]"]
POOL += ["+candidates.proposer._target_=pool_parts.Drawn", "candidates.pool=4", "candidates.initial=3"]


def plain_accuracy(folder, genotype):
    """Accuracy in percent of a path in the supernet on all of `val`, batch by batch, with nothing of a judge."""
    bench = Workbench(RunFolder(folder).config(), RunFolder(folder))
    (stage,) = stages_of(bench)
    module = build_module(bench, stage)
    saved = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    module.load_state_dict(saved["state_dict"])
    module.supernet.eval()
    data = search_data(bench)
    data.setup("fit")
    path, right, number = bench.space.path_of(genotype), 0, 0
    for images, labels in data.selection_dataloader(None):  # `val` of this run is not augmented
        with torch.no_grad():
            right += int((module.supernet(images, path).argmax(1) == labels).sum())
        number += len(labels)
    return 100 * right / number


def test_a_supernet_judges_by_the_accuracy_of_the_path(searched, tiny, tmp_path):
    words = [*tiny, *POOL, "space.num_nodes=2", "data.augment_val=false", f"candidates.supernet={searched}"]
    summary = run_task(as_dict(nl.compose([*words, "task=search"])), RunFolder(tmp_path / "run"))
    told = summary["candidates"]
    assert len(told) == 4
    for one in told:
        expected = plain_accuracy(searched, Genotype.from_dict(one["genotype"]))
        assert one["val_accuracy"] == pytest.approx(ACCURACY.rounded(expected))
    assert summary["genotype"] == max(told, key=lambda one: one["val_accuracy"])["genotype"]
    assert (summary["search"]["judge"], summary["search"]["epochs_spent"]) == ("supernet", 0)
    assert not (tmp_path / "run/candidates").exists()


def test_a_supernet_of_another_space_is_refused(searched, tiny, tmp_path):
    words = [*tiny, *POOL, "space.num_nodes=3", f"candidates.supernet={searched}"]
    judge = SupernetJudge(Workbench(as_dict(nl.compose(words)), RunFolder(tmp_path / "run")))
    with pytest.raises(nl.ConfigError, match=r"candidates\.supernet=.*its space is s3 with other settings"):
        judge.check()


def test_a_supernet_that_has_dropped_options_is_refused(searched, tiny, tmp_path):
    shutil.copytree(searched, tmp_path / "shrunk")
    file = tmp_path / "shrunk/checkpoints/last.ckpt"
    saved = torch.load(file, weights_only=True)
    saved["search"]["decisions"]["kept"]["normal"][0, 1] = False
    torch.save(saved, file)
    words = [*tiny, *POOL, "space.num_nodes=2", f"candidates.supernet={tmp_path / 'shrunk'}"]
    judge = SupernetJudge(Workbench(as_dict(nl.compose(words)), RunFolder(tmp_path / "run")))
    with pytest.raises(nl.ConfigError, match=r"candidates\.supernet=.*shrunk: that search has dropped options"):
        judge.check()


def test_a_run_without_its_supernet_is_refused(searched, tiny, tmp_path):
    shutil.copytree(searched, tmp_path / "gone", ignore=shutil.ignore_patterns("*.ckpt"))
    words = [*tiny, *POOL, "space.num_nodes=2", f"candidates.supernet={tmp_path / 'gone'}"]
    judge = SupernetJudge(Workbench(as_dict(nl.compose(words)), RunFolder(tmp_path / "run")))
    with pytest.raises(nl.ConfigError, match=r"candidates\.supernet=.*gone: .*keeps no supernet"):
        judge.check()


def test_a_training_that_fails_counts_what_it_has_read(tiny, tmp_path):
    """With such a learning rate the second step has no finite loss, at both levels: 16 of the 20 images are read."""
    words = [*tiny, *POOL, "task=search", "space.num_nodes=2", "candidates.levels=[1,2]", "evaluation.lr=1e38"]
    summary = run_task(as_dict(nl.compose(words)), RunFolder(tmp_path / "run"))
    events = [json.loads(line) for line in (tmp_path / "run/pool.jsonl").read_text().splitlines()]
    judged = [event for event in events if event["event"] == "judged"]
    assert len(judged) > 4
    assert {event["images"] for event in judged if "failed" in event} == {16}
    assert all("failed" in event for event in judged)
    assert summary["search"]["images"] == 4 * 16
    assert summary["search"]["seconds"] > 0


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "/nowhere"])
def test_a_folder_without_a_run_is_named_by_the_key_of_this_command(tiny, tmp_path, name):
    judge = SupernetJudge(Workbench(as_dict(nl.compose([*tiny, *POOL, f"candidates.supernet={name}"])), RunFolder("r")))
    with pytest.raises(nl.ConfigError) as refused:
        judge.check()
    assert str(refused.value).startswith(f"candidates.supernet={name}: there is no run (")
    assert "run=" not in str(refused.value)
