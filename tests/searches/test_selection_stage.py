"""The stage of a selector that trains, in real runs: what it measures, what it leaves alone, what it can resume."""

import copy
import itertools
import json
import shutil

import lightning as L
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

import nas_lightning as nl
from nas_lightning.config.compose import as_dict, check_overrides_of_another_run
from nas_lightning.core.schedules import cosine
from nas_lightning.data.module import SearchData
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module, stages_of
from nas_lightning.searches.one_shot import OneShotModel
from nas_lightning.selectors import Magnitude
from nas_lightning.tasks import resume as resuming
from nas_lightning.tasks import run as tasks
from nas_lightning.training.workbench import Workbench
from staged_parts import (
    Look,
    NotedRadius,
    checkpoint,
    column,
    cut,
    decided_edges,
    edges_of,
    forget,
    overrides_of,
    run,
    same,
    same_outcome,
    table,
    undrawn,
)

pytestmark = pytest.mark.xdist_group("selection stage")  # in one worker, which makes what they share once
SEARCH = [
    "method=darts",
    "search.epochs=2",
    "search.snapshots=1",
    "search.weights.lr=0.1",
    "perturbation=random",
    "perturbation._target_=staged_parts.NotedRadius",
    "+regularizer=drop_path",
    "regularizer.drop_path.maximum=0.4",
]
TUNED = ["selector=perturbation", "selector.tune_epochs=1"]
"""Five operations and one node of each cell: six decisions, five epochs between them."""


@pytest.fixture(scope="module")
def searched(images_file, tmp_path_factory):
    """A search that ends by magnitude."""
    forget()
    folder = tmp_path_factory.mktemp("selection") / "searched"
    overrides = [*overrides_of(images_file), *SEARCH]
    run(overrides, folder)
    return folder, overrides


@pytest.fixture(scope="module")
def whole(searched, tmp_path_factory):
    """The same search with a selection that trains, and what it saw."""
    forget()
    folder = tmp_path_factory.mktemp("selection") / "whole"
    overrides = [*searched[1], *TUNED]
    summary = run(overrides, folder)
    return folder, overrides, summary, dict(Look.starts), dict(NotedRadius.seen)


SELECT = ["task=select", "trusted=[staged_parts]"]


def select(overrides, folder):
    with undrawn():
        return tasks.run_task(as_dict(nl.compose([*SELECT, *overrides])), RunFolder(folder))


def module_of(overrides, folder):
    """The searched module with the state of a checkpoint, and its images."""
    bench = Workbench(as_dict(nl.compose(overrides)), RunFolder(folder))
    module = build_module(bench, stages_of(bench)[0])
    data = SearchData(bench.data, 8, 0, **bench.loaders.model_dump())
    data.setup("fit")
    return module, data


def plain_loop(supernet, mixing, batches, mode):
    """Accuracy in percent and mean loss, with every image in its own line."""
    net = copy.deepcopy(supernet).eval()
    for norm in net.modules():
        if mode == "train" and isinstance(norm, _BatchNorm):
            norm.train()
    right, losses = [], []
    with torch.no_grad():
        for images, labels in batches:
            outputs = net(images, mixing)
            right += [int(row.argmax()) == int(label) for row, label in zip(outputs, labels, strict=True)]
            losses += cross_entropy(outputs, labels, reduction="none").tolist()
    return 100 * sum(right) / len(right), sum(losses) / len(losses)


# The one-shot model on val ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_model_is_measured_as_a_plain_loop_does(searched, mode):
    module, data = module_of(searched[1], searched[0])
    saved = checkpoint(searched[0])
    module.load_state_dict(saved["state_dict"])
    module.supernet.train()
    module.supernet.cells[0].eval()  # each part goes back into its own mode
    modes = [part.training for part in module.modules()]
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    model = OneShotModel(module, data, L.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False))
    batches = list(data.selection_dataloader())
    assert [len(labels) for _, labels in batches] == [8, 8, 4]
    mixing = {name: torch.softmax(arch, dim=-1) for name, arch in saved["search"]["arch"].items()}
    mixing["normal"][1, 2] = 0
    active = {name: choice.mask.clone() for name, choice in module.space.choices.items()}
    active["normal"][1, 2] = False
    for given, wanted in (
        (None, batches), (2, batches[:2]), (7, batches), (range(1, 3), batches[1:]),
        (range(2, 5), [batches[2], *batches[:2]]),
    ):  # fmt: skip
        accuracy, loss = plain_loop(module.supernet, mixing, wanted, mode)
        assert model.accuracy(mixing, active, given, mode) == pytest.approx(accuracy, rel=1e-6)
        assert model.loss(mixing, active, given, mode) == pytest.approx(loss, rel=1e-5)
    other = plain_loop(module.supernet, mixing, batches, "train" if mode == "eval" else "eval")
    assert other[1] != pytest.approx(loss, rel=1e-3)
    assert model.batches == 2 * (3 + 2 + 3 + 2 + 3)
    assert same(before, module.state_dict())
    assert modes == [part.training for part in module.modules()]
    assert all(norm.track_running_stats for norm in module.modules() if isinstance(norm, _BatchNorm))


def test_a_shuffled_order_holds_the_same_images_in_other_batches(searched):
    module, data = module_of([*searched[1], "data.augment_val=false"], searched[0])
    module.load_state_dict(checkpoint(searched[0])["state_dict"])
    model = OneShotModel(module, data, L.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False))
    mixing = module.mean()
    fixed = list(data.selection_dataloader())
    seen = []
    for key in ("0.0", "0.1"):
        order = data.selection_dataloader(shuffle=key).batch_sampler.indices.tolist()
        assert sorted(order) == sorted(data.split.val.tolist())
        images = [data.unaugmented[index] for index in order]
        batches = [
            (torch.stack([image for image, _ in part]), torch.tensor([label for _, label in part]))
            for part in (images[:8], images[8:16], images[16:])
        ]
        for given, wanted in ((None, batches), (2, batches[:2]), (range(1, 3), batches[1:])):
            accuracy, loss = plain_loop(module.supernet, mixing, wanted, "train")
            assert model.accuracy(mixing, None, given, "train", key) == pytest.approx(accuracy, rel=1e-6)
            assert model.loss(mixing, None, given, "train", key) == pytest.approx(loss, rel=1e-5)
        assert model.loss(mixing, None, None, "eval", key) == pytest.approx(model.loss(mixing), rel=1e-5)
        seen.append((order, model.loss(mixing, None, None, "train", key)))
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] != pytest.approx(seen[1][1], rel=1e-4)  # the statistics of other batches
    assert len(fixed) == 3
    augmented = module_of(searched[1], searched[0])[1]
    first, again, other = (
        torch.cat([images for images, _ in augmented.selection_dataloader(shuffle=key)]) for key in ("a", "a", "b")
    )
    assert torch.equal(first, again)
    assert not torch.equal(first.flatten(1).sum(1).sort()[0], other.flatten(1).sum(1).sort()[0])  # augmented anew


def test_paths_on_one_large_batch_without_augmentation(searched, tmp_path):
    """As the benchmark's code scores its random cells: the metric of the winner is that of a plain loop."""
    words = ["selector=random_search", "selector.candidates=4", "selector.finalists=0", "selector.fresh_batches=true"]
    words += ["selector.batches=1", "selector.batch_size=512", "selector.batch_norm=train"]
    summary = select([f"run={searched[0]}", *words], tmp_path / "selected")
    assert summary["selection"]["validation_passes"] == 4  # a batch is all of the 20 images, not 8 of them
    module, data = module_of([*searched[1], "data.augment_val=false"], searched[0])
    module.load_state_dict(checkpoint(searched[0])["state_dict"])
    trainer = L.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    model = OneShotModel(module, data, trainer, 512)
    images = [data.unaugmented[index] for index in data.split.val.tolist()]
    batch = torch.stack([image for image, _ in images]), torch.tensor([label for _, label in images])
    path = module.space.sample(torch.Generator().manual_seed(0), True)
    active = {name: weights > 0 for name, weights in path.items()}
    for number in (0, 3):  # the only batch, whatever its number
        found = model.loss(path, active, range(number, number + 1), "train")
        assert found == pytest.approx(plain_loop(module.supernet, path, [batch], "train")[1], rel=1e-5)


@pytest.mark.slow
def test_a_selection_on_shuffled_images_repeats(searched, tmp_path):
    tables = []
    for name in ("first", "second"):
        forget()
        select([f"run={searched[0]}", *TUNED, "selector.epochs=0", "selector.reshuffle=true"], tmp_path / name)
        tables.append((tmp_path / name / "decisions.csv").read_text())
    forget()
    select([f"run={searched[0]}", *TUNED, "selector.epochs=0"], tmp_path / "fixed")
    assert tables[0] == tables[1]
    measured = [[row["measured"] for row in table(tmp_path / name)] for name in ("first", "fixed")]
    assert measured[0] != measured[1]


# The stage --------------------------------------------------------------------------------------------------------


def test_decisions_and_genotype(whole):
    rows = table(whole[0])
    for name in ("normal", "reduce"):
        mine = [row for row in rows if row["choice"] == name]
        assert [row["kind"] for row in mine] == ["operation"] * 5 + ["pruned"]
        assert [row["epoch"] for row in mine] == ["0", "1", "2", "3", "4", ""]  # the last after the last epoch
        assert sorted(int(row["row"]) for row in mine[:5]) == [0, 1, 2, 3, 4]
        assert mine[-1]["node"] == "3"
    assert edges_of(RunFolder(whole[0]).genotype()) == decided_edges(rows)
    assert whole[2]["search"]["epochs"] == 2
    assert whole[2]["selection"]["validation_passes"] == 2 * (5 * 2 + 3)


def test_a_decision_from_the_weights_of_the_moment(whole):
    """The first, before any tuning, and one in the middle: the masked accuracies with a loop over the images."""
    module, data = module_of(whole[1], whole[0])
    for epoch in (0, 2):
        state = whole[3][2 + epoch]
        module.load_state_dict(state["module"])
        data.first_pass = 2 + epoch  # by which its images are augmented
        first = next(row for row in table(whole[0]) if row["epoch"] == str(epoch))
        row = int(first["row"])
        accuracies = {}
        for option, op in ((1, "skip_connect"), (2, "sep_conv_3x3")):
            mixing = {}
            for key, arch in state["arch"].items():
                kept, settled = (state["decisions"][what][key] for what in ("kept", "decided"))
                mixing[key] = torch.where(settled[:, None], kept.float(), torch.softmax(arch, dim=-1))
            mixing[first["choice"]][row, option] = 0
            accuracies[op] = plain_loop(module.supernet, mixing, data.selection_dataloader(), "train")[0]
        told = {op: float(value) for op, value in (part.split(" ") for part in first["measured"].split(", "))}
        assert told == pytest.approx(accuracies, rel=1e-5)
        assert first["option"] == min(accuracies, key=accuracies.__getitem__)


def test_rate_and_schedules_of_the_stage(whole):
    folder, _, _, starts, radii = whole
    assert column(folder, "phase", str) == ["search"] * 2 + ["selection"] * 5
    assert column(folder, "epoch", int) == column(folder, "search_epoch", int) == list(range(7))
    assert column(folder, "lr", phase="search") == pytest.approx([cosine(e, 2, 0.1, 0.001) for e in range(2)])
    assert column(folder, "lr", phase="selection") == pytest.approx([0.01] * 5)
    assert column(folder, "drop_path") == pytest.approx([0.0] + [0.4] * 6)
    assert list(radii) == pytest.approx([0.03, 0.165, 0.3])
    assert list(radii.values()) == [5, 5, 25]  # three steps an epoch, and two looks for the tables
    assert [state["steps"] for _, state in sorted(starts.items())] == [3 * epoch for epoch in range(7)]


def test_what_the_stage_starts_with(whole):
    """Weights, buffers, architecture and its moments are those of the search; the weights' momentum is not."""
    folder, _, _, starts, _ = whole
    end = checkpoint(folder, "epoch=2")
    assert end["search"]["phase"] == "search"
    assert same(dict(starts[2]["module"]), dict(end["state_dict"]))
    assert same(starts[2]["arch"], end["search"]["arch"])
    assert same(starts[2]["adam"], end["optimizer_states"][1]["state"])
    assert end["optimizer_states"][0]["state"][0]["momentum_buffer"] is not None
    assert starts[2]["sgd"] == {}
    assert starts[3]["sgd"] != {}
    group = checkpoint(folder)["optimizer_states"][0]["param_groups"][0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == pytest.approx((0.01, 0.9, 3e-4))


def test_decided_rows_stay_while_the_rest_is_tuned(whole):
    states = [whole[3][epoch] for epoch in range(2, 7)]
    for index, state in enumerate(states):  # before the decision of the epoch
        assert [int(rows.sum()) for rows in state["decisions"]["decided"].values()] == [index] * 2
    last = checkpoint(whole[0])
    assert last["search"]["phase"] == "selection"
    last = {"adam": last["optimizer_states"][1]["state"], **last["search"]}
    for before, after in itertools.pairwise([*states, last]):
        for index, name in enumerate(("normal", "reduce")):
            decided = after["decisions"]["decided"][name]
            arch = [state["arch"][name] for state in (before, after)]
            moments = [state["adam"][index] for state in (before, after)]
            for first, second in (arch, *([moment[key] for moment in moments] for key in ("exp_avg", "exp_avg_sq"))):
                assert torch.equal(first[decided], second[decided])
            assert (arch[0][~decided] != arch[1][~decided]).all()
    assert all(rows.all() for rows in last["decisions"]["decided"].values())
    lines = [json.loads(line) for line in (whole[0] / "genotypes.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(-1, 7))
    assert all(line["genotype"] is None for line in lines)
    mixing = torch.tensor(lines[-1]["mixing"]["normal"])
    assert torch.equal(mixing, last["decisions"]["kept"]["normal"].float())


@pytest.mark.slow
@pytest.mark.parametrize(
    "at",
    [("selection", 4, 1), ("selection", 2, 0)],  # in the middle; before the first batch, of which nothing is kept
)
def test_a_kill_changes_nothing(whole, tmp_path, at):
    forget()
    cut(whole[1], tmp_path / "cut", at)
    same_outcome(whole[0], tmp_path / "cut")
    for folder in (whole[0], tmp_path / "cut"):  # of the selection only the last state is kept
        kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
        assert kept == ["epoch=1.ckpt", "epoch=2.ckpt", "last.ckpt", "previous.ckpt"]
    assert same(checkpoint(whole[0], "epoch=2")["search"], checkpoint(tmp_path / "cut", "epoch=2")["search"])


def test_killed_after_the_last_epoch_it_goes_on_to_the_genotype(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "cut")
    summary = json.loads((tmp_path / "cut" / "summary.json").read_text())
    (tmp_path / "cut" / "summary.json").write_text(json.dumps({**summary, "search": None, "selection": None}))
    for name in ("genotype.json", "decisions.csv"):
        (tmp_path / "cut" / name).unlink()
    with undrawn():
        resuming.resume(tmp_path / "cut")
    same_outcome(whole[0], tmp_path / "cut")


# task=select ------------------------------------------------------------------------------------------------------


def same_selection(first, second):
    """Two folders hold the same decisions, tuning, genotype and weights."""
    assert (first / "decisions.csv").read_bytes() == (second / "decisions.csv").read_bytes()
    assert (first / "genotype.json").read_bytes() == (second / "genotype.json").read_bytes()
    rows = [[row for row in table(folder, "metrics") if row["phase"] == "selection"] for folder in (first, second)]
    assert rows[0] == rows[1] != []
    a, b = checkpoint(first), checkpoint(second)
    for key in ("state_dict", "optimizer_states", "search"):
        assert same(a[key], b[key]), key
    a, b = (json.loads((folder / "summary.json").read_text()) for folder in (first, second))
    assert a["selection"]["validation_passes"] == b["selection"]["validation_passes"]
    assert a["search"]["epochs"] == b["search"]["epochs"]
    assert a["search"]["val_accuracy"] == b["search"]["val_accuracy"]


@pytest.mark.slow
def test_select_from_another_run_is_the_selection_of_one_run(searched, whole, tmp_path):
    """Also where it is killed on the way; the other run stays as it was."""
    forget()
    before = {path: path.read_bytes() for path in searched[0].rglob("*") if path.is_file()}
    cut([*SELECT, f"run={searched[0]}", *TUNED], tmp_path / "selected", ("selection", 5, 2))
    same_selection(whole[0], tmp_path / "selected")
    assert before == {path: path.read_bytes() for path in searched[0].rglob("*") if path.is_file()}


def test_select_from_a_run_that_has_selected_takes_the_end_of_its_search(whole, tmp_path):
    """Not the last checkpoint, which is one of the selection."""
    forget()
    select([f"run={whole[0]}", *TUNED, "selector.tune_epochs=0"], tmp_path / "again")
    magnitude = select([f"run={whole[0]}", "selector=magnitude", "epoch=2"], tmp_path / "magnitude")
    arch = checkpoint(whole[0], "epoch=2")["search"]["arch"]
    expected = Magnitude()(module_space(whole[1]), {name: torch.softmax(a, dim=-1) for name, a in arch.items()})
    assert magnitude["genotype"] == expected.to_dict()
    first = table(whole[0])[0], table(tmp_path / "again")[0]
    for row in first:
        row.pop("epoch")
    assert first[0] == first[1]  # the first decision is made before any tuning
    assert magnitude["search"]["epochs"] == 2


def module_space(overrides):
    return nl.build_space(nl.compose(overrides))


def test_select_by_magnitude_is_the_runs_own_genotype(searched, tmp_path):
    with undrawn():
        result = nl.select(nl.compose([*SELECT, f"run={searched[0]}", "selector=magnitude"]), tmp_path / "last")
    assert result.genotype == RunFolder(searched[0]).genotype()
    assert (result.summary["task"], result.run_dir) == ("select", tmp_path / "last")
    noted = [json.loads(line) for line in (searched[0] / "genotypes.jsonl").read_text().splitlines()]
    summary = select([f"run={searched[0]}", "selector=magnitude", "epoch=1"], tmp_path / "first")
    assert summary["genotype"] == noted[1]["genotype"]
    assert (noted[1]["search_epoch"], summary["search"]["epochs"]) == (0, 1)
    assert summary["search"]["val_accuracy"] == pytest.approx(column(searched[0], "val_accuracy")[0], abs=1e-3)


def test_selection_of_an_earlier_epoch_trains_from_there(searched, tmp_path):
    """The architecture is fixed on demand; schedules stand where the search stood, not where it would have ended."""
    forget()
    overrides = [
        f"run={searched[0]}",
        *TUNED,
        "epoch=1",
        "selector.train_arch=false",
        "selector.epochs=2",
        "selector.batches=1",
    ]
    select(overrides, tmp_path / "selected")
    assert column(tmp_path / "selected", "phase", str) == ["selection"] * 2
    assert column(tmp_path / "selected", "search_epoch", int) == [1, 2]
    assert column(tmp_path / "selected", "drop_path") == [0.0, 0.0]
    assert list(NotedRadius.seen) == pytest.approx([0.165])
    saved = checkpoint(searched[0], "epoch=1")
    for epoch in (1, 2):
        assert same(Look.starts[epoch]["arch"], saved["search"]["arch"])
    assert same(dict(Look.starts[1]["module"]), dict(saved["state_dict"]))
    assert not same(dict(Look.starts[2]["module"]), dict(saved["state_dict"]))
    rows = [row for row in table(tmp_path / "selected") if row["choice"] == "normal"]
    assert [row["epoch"] for row in rows] == ["0", "1", "", "", "", ""]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([], "run=null: task=select needs the folder of a search"),
        (["run=nowhere"], "run=nowhere: there is no run"),
        (["run={searched}", "epoch=7"], r"epoch=7: .* keeps no supernet .* allowed: 1, 2;.*search.snapshots=10"),
        (["run={searched}", "epoch=0"], "epoch=0: .* allowed: 1, 2"),
        (["run={whole}", "epoch=5"], "epoch=5: .* allowed: 1, 2"),
    ],
)
def test_mistakes_of_select(searched, whole, tmp_path, monkeypatch, overrides, told):
    monkeypatch.chdir(tmp_path)
    given = [override.format(searched=searched[0], whole=whole[0]) for override in overrides]
    with pytest.raises(nl.ConfigError, match=told):
        select([*given, *TUNED], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("override", ["seed=3", "search.epochs=9", "~callbacks.look", "+regularizer=noise", "space=s2"])
def test_what_select_would_not_listen_to_is_refused(override):
    with pytest.raises(nl.ConfigError, match="task=select uses the configuration of its run"):
        check_overrides_of_another_run(
            ["task=select", "run=x", "selector=perturbation", "selector.tune_epochs=1", override]
        )
    check_overrides_of_another_run(["task=search", override])


def test_a_run_that_kept_nothing(searched, tmp_path):
    shutil.copytree(searched[0], tmp_path / "bare")
    for path in (tmp_path / "bare" / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(nl.ConfigError, match="allowed: none;"):
        select([f"run={tmp_path / 'bare'}", "selector=magnitude"], tmp_path / "run")


# After an early stop ----------------------------------------------------------------------------------------------

STOPPED = [
    "method=darts",
    "search.epochs=5",
    "callbacks.curvature._target_=lightning_parts.InjectedCurvature",
    "+callbacks.curvature.series=[1,1,2,1,1]",
    "callbacks.curvature.interval=1",
    "+control=curvature_stopping",
    *(f"control.curvature_stopping.{value}" for value in ("window=1", "delta=1", "offset=1", "start_epoch=0")),
    *TUNED,
    "selector.epochs=2",
    "selector.batches=1",
]
"""Stops at epoch 2 and takes the supernet of epoch 1."""


@pytest.mark.slow
def test_selection_after_an_early_stop(images_file, tmp_path):
    forget()
    overrides = [*(key for key in overrides_of(images_file) if key != "~callbacks.curvature"), *STOPPED]
    summary = run(overrides, tmp_path / "whole")
    starts = dict(Look.starts)
    found = summary["search"]
    assert (found["stopped_at"], found["rolled_back_to"], found["epochs"]) == (2, 1, 2)
    folder = tmp_path / "whole"
    assert column(folder, "phase", str) == ["search"] * 3 + ["selection"] * 2
    assert column(folder, "search_epoch", int) == [0, 1, 2, 2, 3]
    assert column(folder, "epoch", int) == list(range(5))
    assert column(folder, "lr", phase="selection") == pytest.approx([0.0025] * 2)
    end = checkpoint(folder, "epoch=2")
    assert end["search"]["stopped"]
    assert same(starts[2]["arch"], end["search"]["arch"])
    assert edges_of(RunFolder(folder).genotype()) == decided_edges(table(folder))
    forget()
    cut(overrides, tmp_path / "cut", ("selection", 3, 0))
    same_outcome(folder, tmp_path / "cut")
