"""Stopping at a number of skip connections: paths that are scripted, and the state that a rollback would restore."""

import json

import lightning as L
import pytest
import torch

import nas_lightning as nl
from comparing import differences
from lightning_parts import CrashOnce
from nas_lightning.control import SkipStopping
from nas_lightning.control.skip_stopping import skips_of
from nas_lightning.core.genotypes import Genotype
from nas_lightning.runs.folder import RunFolder

pytestmark = pytest.mark.xdist_group("skip stopping")  # in one worker: the scripts are shared on purpose
SCRIPT = [
    "trusted=[test_skip_stopping,lightning_parts]",
    "+callbacks.script._target_=test_skip_stopping.Scripted",
    "space=s2",  # skip_connect and sep_conv_3x3 on every edge
    "space.num_nodes=2",  # of four edges, all of them kept by a node of two, two by one of three
    "method=darts_plus",
    "search.snapshots=1",
    "task=search",
]


class Scripted(L.Callback):
    """Sets the logits at the end of each epoch, so that the normal cell has a given number of skip connections."""

    def __init__(self, skips: list[int]) -> None:
        self.skips = skips

    def on_train_epoch_end(self, trainer, pl_module):
        number = self.skips[pl_module.search_epoch]
        with torch.no_grad():
            for name, table in pl_module.arch.items():
                choice = pl_module.space.choices[name]
                table.zero_()
                for node, rows in choice.rows_of_node.items():
                    for place, row in enumerate(rows[: choice.keep]):  # these are the edges that are kept
                        first = sum(
                            min(choice.keep, len(choice.rows_of_node[n])) for n in choice.rows_of_node if n < node
                        )
                        skip = name == "normal" and first + place < number
                        table[row] = torch.tensor([3.0, 0.0] if skip else [0.0, 3.0])


def search(tiny, skips, folder, *further):
    words = [*tiny, *SCRIPT, f"search.epochs={len(skips)}", f"+callbacks.script.skips={skips}", *further]
    return nl.search(nl.compose(words), run_dir=folder)


def checkpoint(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("skips", "limit", "expected"),
    [
        ([0, 1, 2, 0], 2, (2, 1, 2)),  # ends after epoch 2, returns epoch 1: two epochs
        ([3, 1, 0, 4], 2, (3, 2, 3)),  # too many by the initial parameters stop nothing
        pytest.param([0, 1, 2, 3], 3, (3, 2, 3), marks=pytest.mark.slow),
        ([3, 2, 4, 2], 2, (None, None, 4)),  # never fewer than two
        pytest.param([0, 1, 1, 0], 2, (None, None, 4), marks=pytest.mark.slow),
    ],
)
def test_the_search_ends_one_epoch_before_the_limit(tiny, tmp_path, skips, limit, expected):
    found = search(tiny, skips, tmp_path / "run", f"control.skip_stopping.limit={limit}")
    summary = found.summary["search"]
    assert (summary["stopped_at"], summary["rolled_back_to"], summary["epochs"]) == expected
    rows = [json.loads(line) for line in (tmp_path / "run" / "genotypes.jsonl").read_text().splitlines()]
    counted = [skips_of(Genotype.from_dict(row["genotype"]), "normal") for row in rows if row["search_epoch"] >= 0]
    ended = len(skips) if expected[0] is None else expected[0] + 1
    assert counted == skips[:ended], "the script does what it says"
    assert skips_of(found.genotype, "normal") == skips[expected[2] - 1]
    assert len(RunFolder(tmp_path / "run").read_metrics()) == ended


def test_what_is_returned_is_the_end_of_that_epoch_to_the_bit(tiny, tmp_path):
    search(tiny, [0, 0, 1, 4], tmp_path / "run")
    last, kept = checkpoint(tmp_path / "run"), checkpoint(tmp_path / "run", "epoch=3")
    for part in ("state_dict", "optimizer_states"):
        assert differences(last[part], kept[part], part) == []
    assert differences(last["search"]["arch"], kept["search"]["arch"], "arch") == []


@pytest.mark.slow
def test_it_equals_a_search_that_ends_there(tiny, tmp_path):
    """The learning rate of the weights aside, which depends on the planned length: it is constant here."""
    constant = "search.weights.schedule=constant"
    stopped = search(tiny, [0, 1, 2, 2], tmp_path / "stopped", constant)
    whole = search(tiny, [0, 1], tmp_path / "whole", constant)
    assert stopped.genotype == whole.genotype
    a, b = checkpoint(tmp_path / "stopped"), checkpoint(tmp_path / "whole")
    assert differences(a["state_dict"], b["state_dict"], "state_dict") == []


def test_a_stable_ranking_ends_the_search_where_it_is(tiny, tmp_path):
    """One parametric option a row in S2 always ranks alike; two in the space below change places by the script."""
    found = search(tiny, [0] * 6, tmp_path / "run", "control.skip_stopping.patience=2").summary["search"]
    assert (found["stopped_at"], found["rolled_back_to"], found["epochs"]) == (2, None, 3)


class Alternating(L.Callback):
    """Lets two parametric options of one edge change places until an epoch; the skip connection always moves."""

    def __init__(self, until: int) -> None:
        self.until = until

    def on_train_epoch_end(self, trainer, pl_module):
        epoch, table = pl_module.search_epoch, pl_module.arch["cell"]
        with torch.no_grad():
            table.zero_()
            table[:, 3] = 1.0  # nor_conv_3x3
            table[0, 2] = 2.0 if epoch < self.until and epoch % 2 else 0.5  # nor_conv_1x1
            table[:, 1] = -1.0 - epoch % 2  # skip_connect


def test_the_ranking_is_that_of_options_with_weights(tiny, tmp_path):
    words = [*tiny, "space=nasbench201", "search.layers=1", "method=darts_plus", "search.epochs=8", "task=search",
             "trusted=[test_skip_stopping]", "control.skip_stopping.patience=2",
             "+callbacks.script._target_=test_skip_stopping.Alternating", "+callbacks.script.until=4"]  # fmt: skip
    found = nl.search(nl.compose(words), run_dir=tmp_path / "run").summary["search"]
    assert (found["stopped_at"], found["epochs"]) == (6, 7)  # the order has been the same since epoch 4


def test_epochs_without_architecture_steps_stop_nothing(tiny, tmp_path):
    found = search(tiny, [0, 4, 0, 1], tmp_path / "run", "search.arch.warmup_epochs=2").summary["search"]
    assert (found["stopped_at"], found["epochs"]) == (None, 4)


def test_cut_off_and_resumed_it_stops_likewise(tiny, tmp_path):
    crash = ["+callbacks.crash._target_=lightning_parts.CrashOnce", "+callbacks.crash.phase=search",
             "+callbacks.crash.epoch=2"]  # fmt: skip
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        search(tiny, [0, 1, 2, 0], tmp_path / "run", *crash)
    nl.resume(tmp_path / "run")
    found = json.loads((tmp_path / "run" / "summary.json").read_text())["search"]
    assert (found["stopped_at"], found["rolled_back_to"]) == (2, 1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["space=s4"], "cells of space=s4 have at most 0 skip connections; use control.skip_stopping.patience=10"),
        (["space=s2", "control.skip_stopping.limit=9"], "have at most 8 skip connections"),
        (["space=s2", "control.skip_stopping.cell=cell"], "no kind of cell; allowed: normal, reduce, null"),
        (["space=s2", "selector=random_search"], "derives no genotype after an epoch; use selector=magnitude"),
        (["space=s2", "+control=curvature_stopping"], "would both roll back"),
        (["space=s2", "+control=greedy_decisions"], "which skip_stopping would undo by rolling back"),
        (["space=s2", "hypergradient=none", "selector=random_search"], "no architecture is learned"),
    ],
)
def test_what_can_never_stop_is_refused(tiny, tmp_path, words, expected):
    with pytest.raises(nl.ConfigError, match=expected):
        nl.search(nl.compose([*tiny, "method=darts_plus", *words]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_its_memory_is_plain():
    part = SkipStopping()
    part.last, part.ranking, part.since = 3, [[1, 0]], 2
    other = SkipStopping()
    other.load_state_dict(json.loads(json.dumps(part.state_dict())))
    assert other.state_dict() == part.state_dict()
