"""Early stopping and adaptive rollback, driven by eigenvalues that the tests choose."""

import json

import lightning as L
import pytest
import torch

import nas_lightning as nl
from conftest import TINY_SIZES
from lightning_parts import CrashOnce
from nas_lightning.core.schedules import cosine
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.resume import resume

pytestmark = pytest.mark.xdist_group("control")  # in one worker, which makes what they share once
VECTOR_A = (
    ".179 .148 .170 .146 .121 .249 .231 .359 .225 .386 .208 .430 .508 .229 .410 .502 .500 .250 .457 .517 .644 .459"
    " .707 1.319 .527 .521"
)
"""Published eigenvalues at epochs 0, 2, …, 48, 49 (S1, CIFAR-10, seed 1): the released rule stops at 22, returns 10."""
PARTS = ["trusted=[lightning_parts]", "callbacks.curvature._target_=lightning_parts.InjectedCurvature"]
FIRST = "hypergradient=first_order"
SENSITIVE = ["window=1", "delta=1", "offset=1", "start_epoch=0"]
"""A rule that triggers as soon as one value is 1.3 times the one before, and returns the epoch before."""


def injected(series, interval=1):
    return [*PARTS, f"+callbacks.curvature.series={json.dumps(series)}", f"callbacks.curvature.interval={interval}"]


def rule(name):
    return [f"control.{name}.{value}" for value in SENSITIVE]


def search(overrides, folder):
    return nl.search(nl.compose(overrides), run_dir=folder)


def checkpoint(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def same(a, b):
    """Equal bits, in nested lists and dictionaries of tensors."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


class StateLog(L.Callback):
    """The whole state at the end and at the start of each epoch, by Lightning's epoch."""

    ends: dict[int, dict] = {}  # noqa: RUF012 - shared on purpose
    starts: dict[int, dict] = {}  # noqa: RUF012
    decays: list[float] = []  # noqa: RUF012

    @staticmethod
    def state(trainer, module):
        weights, arch = (optimizer.state_dict()["state"] for optimizer in trainer.optimizers)
        state = {"module": module.state_dict(), "arch": module.arch, "sgd": weights, "adam": arch}
        return torch.utils._pytree.tree_map(lambda x: x.detach().clone() if isinstance(x, torch.Tensor) else x, state)

    def on_train_epoch_start(self, trainer, pl_module):
        StateLog.starts[trainer.current_epoch] = self.state(trainer, pl_module)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        StateLog.decays.append(pl_module.inner_step().weight_decay)

    def on_train_epoch_end(self, trainer, pl_module):
        StateLog.ends[trainer.current_epoch] = self.state(trainer, pl_module)


@pytest.mark.slow
def test_published_series_stop_at_22_and_return_10(tracked, tmp_path):
    on_grid = [float(value) for value in VECTOR_A.split()]
    series = [on_grid[epoch // 2] for epoch in range(50)]
    result = search(
        [*tracked, "method=darts_es", "space=s3", FIRST, "search.epochs=50", "search.snapshots=11",
         *injected(series, interval=2)],
        tmp_path / "run",
    )  # fmt: skip
    found = result.summary["search"]
    assert (found["stopped_at"], found["rolled_back_to"], found["epochs"]) == (22, 10, 11)
    assert found["dominant_eigenvalue"] == pytest.approx(0.249)
    rows = [json.loads(line) for line in (tmp_path / "run" / "genotypes.jsonl").read_text().splitlines()]
    assert [row["search_epoch"] for row in rows] == list(range(-1, 23))
    (at_10,) = [row for row in rows if row["search_epoch"] == 10]
    assert result.genotype.to_dict() == at_10["genotype"]
    kept, last = checkpoint(tmp_path / "run", "epoch=11"), checkpoint(tmp_path / "run")
    assert same(kept["search"]["arch"], last["search"]["arch"])
    assert same(kept["state_dict"], last["state_dict"])
    metrics = RunFolder(tmp_path / "run").read_metrics()
    assert found["val_accuracy"] == pytest.approx(float(metrics[10]["val_accuracy"]), abs=1e-3)
    curvature = RunFolder(tmp_path / "run").read_curvature()
    assert [int(row["search_epoch"]) for row in curvature] == list(range(0, 23, 2))
    assert (curvature[-1]["event"], curvature[-1]["to_epoch"]) == ("stopped", "10")
    assert (tmp_path / "run" / "plots" / "curvature.svg").exists()


def test_a_stopped_search_is_not_continued(tracked, tmp_path):
    overrides = [*tracked, "method=darts_es", "space=s5", FIRST, "search.epochs=6",
                 *injected([1, 1, 2, 1, 1, 1]), *rule("curvature_stopping")]  # fmt: skip
    first = search(overrides, tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text("{}")  # as if it had been killed right after the search
    again = resume(tmp_path / "run")
    assert again["search"]["stopped_at"] == first.summary["search"]["stopped_at"] == 2
    assert again["genotype"] == first.genotype.to_dict()
    assert len(RunFolder(tmp_path / "run").read_metrics()) == 3


@pytest.mark.slow
def test_a_measurement_off_the_grid_does_not_count(tracked, tmp_path):
    overrides = [*tracked, "method=darts_es", "space=s3", FIRST, "search.epochs=4",
                 *injected([1, 1, 1, 100], interval=2), *rule("curvature_stopping")]  # fmt: skip
    found = search(overrides, tmp_path / "run").summary["search"]
    assert (found["stopped_at"], found["epochs"], found["dominant_eigenvalue"]) == (None, 4, 100)
    on_grid = [*overrides, "search.epochs=5", "callbacks.curvature.series=[1,1,1,1,100]"]
    assert search(on_grid, tmp_path / "other").summary["search"]["stopped_at"] == 4


def rollbacks(folder):
    rows = RunFolder(folder).read_curvature()
    return [(int(row["search_epoch"]), int(row["to_epoch"])) for row in rows if row["event"] == "rolled back"]


GROWING = [[1, 1, 1, 2, 2, 2], [0, 0, 0, 1, 2, 2], [0, 0, 0, 0, 5, 9]]
"""By attempt: 3 triggers and goes back to 2; then 4 goes back to 3; then the strength is at its maximum."""
ADA = ["method=darts_ada", "space=s3", "search.epochs=6", *injected(GROWING), *rule("adaptive_rollback")]


@pytest.fixture(scope="module")
def small(images_file):
    """As `tracked`, with one node in a cell: what is controlled is not the network."""
    return ["data=arrays", f"data.path={images_file}", "trainer=cpu", *TINY_SIZES, *ADA, "space=s5"]


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A search that goes back twice, and the states that it went through."""
    StateLog.ends, StateLog.starts, StateLog.decays = {}, {}, []
    log = ["trusted=[lightning_parts,test_control]", "+callbacks.log._target_=test_control.StateLog"]
    folder = tmp_path_factory.mktemp("control") / "run"
    return folder, search([*small, *log], folder)


@pytest.mark.slow
def test_weight_decay_grows_tenfold_at_each_rollback(whole):
    folder, result = whole
    rows = RunFolder(folder).read_metrics()

    def column(name, kind=float):
        return [kind(row[name]) for row in rows]

    assert column("epoch", int) == list(range(8))
    assert column("search_epoch", int) == [0, 1, 2, 3, 3, 4, 4, 5]
    assert column("attempt", int) == [0, 0, 0, 0, 1, 1, 2, 2]
    decays = [3e-4] * 4 + [3e-3] * 2 + [3e-2] * 2
    assert column("weight_decay") == pytest.approx(decays)
    assert StateLog.decays == pytest.approx([decay for decay in decays for _ in range(2)])  # of the virtual step
    assert column("lr") == pytest.approx([cosine(e, 6, 0.025, 0.001) for e in column("search_epoch", int)])
    found = result.summary["search"]
    assert (found["epochs"], found["stopped_at"], found["rolled_back_to"]) == (6, None, 3)
    assert rollbacks(folder) == [(3, 2), (4, 3)]
    # The state with which an attempt begins is that of the epoch it goes back to, whatever came since.
    assert same(StateLog.starts[4], StateLog.ends[2])
    assert same(StateLog.starts[6], StateLog.ends[4])
    assert not same(StateLog.starts[4]["module"], StateLog.ends[3]["module"])
    # New images and draws: the repeated epoch is not the old one again.
    assert not same(StateLog.ends[4]["arch"], StateLog.ends[3]["arch"])
    criterion = next(v for k, v in checkpoint(folder)["callbacks"].items() if "AdaptiveRollback" in k)
    assert criterion == {**criterion, "values": [1, 1, 1, 1, 5, 9]}  # what was given up is forgotten


def test_a_kill_after_a_rollback_resumes_exactly(small, whole, tmp_path):
    folder, result = whole
    crash = ["+callbacks.crash._target_=lightning_parts.CrashOnce", "+callbacks.crash.phase=search",
             "+callbacks.crash.epoch=5"]  # fmt: skip
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        search([*small, *crash], tmp_path / "cut")
    summary = resume(tmp_path / "cut")
    assert summary["genotype"] == result.genotype.to_dict()
    for name in ("weight_decay", "arch_loss", "train_loss", "val_accuracy", "search_epoch", "attempt"):
        assert [row[name] for row in RunFolder(tmp_path / "cut").read_metrics()] == [
            row[name] for row in RunFolder(folder).read_metrics()
        ]
    a, b = checkpoint(folder), checkpoint(tmp_path / "cut")
    for part in ("state_dict", "search", "optimizer_states"):
        assert same(a[part], b[part])


@pytest.mark.slow
def test_drop_path_can_be_what_grows(tracked, tmp_path):
    key = "regularizer.drop_path.maximum"
    overrides = [*tracked, *ADA, "+regularizer=drop_path", f"{key}=0.1", f"control.adaptive_rollback.key={key}",
                 "control.adaptive_rollback.multiply=2", "control.adaptive_rollback.maximum=0.4"]  # fmt: skip
    search(overrides, tmp_path / "run")
    rows = RunFolder(tmp_path / "run").read_metrics()
    maxima = [0.1] * 4 + [0.2] * 2 + [0.4] * 2
    epochs = [int(row["search_epoch"]) for row in rows]
    assert [float(row["drop_path"]) for row in rows] == pytest.approx(
        [maximum * epoch / 5 for maximum, epoch in zip(maxima, epochs, strict=True)]
    )


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("~callbacks.curvature", "keep callbacks.curvature"),
        ("control.adaptive_rollback.key=search.epochs", "allowed: search.weights.weight_decay"),
        ("search.weights.weight_decay=0.0", "stays zero"),
        ("search.weights.weight_decay=0.5", "no step could be taken"),
        ("search.stages=[{name: a, epochs: 1},{name: b, epochs: 1}]", "cannot roll back"),
        ("control.adaptive_rollback.offset=0|control.adaptive_rollback.window=1", "offset=1"),
        ("hypergradient=none", "learns no architecture"),
        ("+control=curvature_stopping", "keep one, ~control.curvature_stopping"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(tracked, tmp_path, override, told):
    with pytest.raises(nl.ConfigError, match=told):
        search([*tracked, "method=darts_ada", "space=s3", *override.split("|")], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_second_rollback_may_go_back_further_and_no_more_is_kept_than_it_needs(tracked, tmp_path):
    """Attempt 0 goes from 8 to 6, attempt 1 at once from 7 to 5, whose checkpoint attempt 0 left."""
    growing = [[1] * 8 + [2] * 4, [1] * 7 + [2] * 5, [1] * 12]
    overrides = [*tracked, "method=darts_ada", "space=s5", FIRST, "search.epochs=12",
                 *injected(growing), *rule("adaptive_rollback"), "control.adaptive_rollback.offset=2"]  # fmt: skip
    seen = []
    folder = tmp_path / "run"

    def kept():
        return sorted(int(path.stem.split("=")[1]) for path in (folder / "checkpoints").glob("epoch=*.ckpt"))

    KeptCheckpoints.look = lambda: seen.append(kept())
    watch = ["trusted=[lightning_parts,test_control]", "+callbacks.kept._target_=test_control.KeptCheckpoints"]
    found = search([*overrides, *watch], folder).summary["search"]
    assert rollbacks(folder) == [(8, 6), (7, 5)]
    assert found["epochs"] == 12
    reach = 2 * 2 + 1  # two rollbacks of two epochs
    # One more, for a resume from the state before the last.
    assert max(map(len, seen)) <= reach + 2
    assert kept() == list(range(12 - reach - 1, 13))


class KeptCheckpoints(L.Callback):
    """Looks at the folder at the start of each epoch."""

    look = None

    def on_train_epoch_start(self, trainer, pl_module):
        KeptCheckpoints.look()
