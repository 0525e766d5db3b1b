"""Searches of two real processes: what they must agree on, and what they must agree on with one."""

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

import nas_lightning as nl
import rank_parts
from comparing import differences
from conftest import write_images
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError, FaultError
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.run import run_search
from nas_lightning.training.processes import SearchDDP, check_processes, number_of_processes, start_here, strategy_of
from nas_lightning.training.workbench import Workbench

pytestmark = pytest.mark.xdist_group("processes")  # in one worker, which makes what they share once
TWO = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_spawn"}
FOUR = ("search.epochs=4", "callbacks.curvature.interval=1")
CASES = {
    # The curvature is measured in the first case and, through a relaxation that draws, in the second.
    "first order": ["method=darts"],
    "gumbel": ["method=gdas"],
    "adversarial": ["method=sdarts_adv", "~callbacks.curvature"],
    "perturbation selector": ["method=darts_pt", "selector.epochs=1", "~callbacks.curvature"],
    **{
        name: [f"method={name}"]
        for name in (
            *("darts_2nd", "drnas", "snas", "sdarts_rs", "noisy_darts", "sgas", "rs_ws", "rdarts_dp"),
            *("beta_sdarts_rs", "darts_minus", "darts_plus"),
        )
    },
    "pc_darts": ["method=pc_darts", "regularizer.partial_channels.divisor=2"],
    "unrolled exactly": ["method=darts", "hypergradient=unrolled_exact", "~callbacks.curvature"],
    "oles": ["method=oles", "control.operation_stopping.window=1"],
    "rollback": ["method=darts_ada", *FOUR],
    "fixed batch": ["method=darts", "callbacks.curvature.batch=fixed"],
    "progressive": [
        *("method=drnas_progressive", "search.epochs=2", "regularizer.partial_channels.divisor=2"),
        "search.stages=[{name: wide, epochs: 1}, {name: narrow, epochs: 1, overrides:"
        " {control.progressive_shrinking.options: 2, regularizer.partial_channels.divisor: 1}}]",
    ],
    "fresh": [
        *("method=p_darts", "search.epochs=2", "search.arch.warmup_epochs=0"),
        "search.stages=[{name: all, epochs: 1}, {name: deep, epochs: 1, fresh: true, overrides:"
        " {search.layers: 4, control.progressive_shrinking.options: 2}}]",
    ],
}
DOUBLE = ["method=darts", "~callbacks.curvature", "search.epochs=3"]
TEXT = (
    *("space=recurrent", "data=grammar", "data.train_tokens=900", "data.valid_tokens=600", "data.test_tokens=200"),
    *("data.val_columns=7", "trainer=cpu", "search.epochs=2", "search.batch_size=8", "search.hidden=6"),
    "trusted=[rank_parts]",
)
SGD = ("search.weights.optimizer=sgd", "search.weights.lr=2")
TEXTS = {
    "text": ["callbacks.curvature.interval=2"],
    "text unrolled": ["hypergradient=unrolled", "hypergradient.clip=0.25", "~callbacks.curvature", *SGD],
}
DOUBLES = {f"double {h}": [*DOUBLE, f"hypergradient={h}"] for h in ("first_order", "unrolled", "unrolled_exact")}
QUICKLY = ("first order", "double first_order", "double unrolled")
"""One with the curvature, two whose steps are those of a single process; the others run with the slow tests."""


def by_two(cases, folder):
    images = folder / "tiny.npz"
    write_images(images, train=44)
    made = {
        name: rank_parts.case(
            [*words, "space.num_nodes=2"], images, folder / name, 8, "GroupNormed" if name in DOUBLES else None
        )
        for name, words in cases.items()
    }
    start_here(rank_parts.search_all, {"trainer": TWO, "cases": made}, folder)
    return folder


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    every = {**CASES, **DOUBLES}
    return by_two({name: every[name] for name in QUICKLY}, tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    every = {**CASES, **DOUBLES}
    return by_two({name: every[name] for name in every if name not in QUICKLY}, tmp_path_factory.mktemp("slow"))


def cases(names):
    """Each name with the fixture that runs it, and a mark for those that run with the slow tests."""
    for name in names:
        yield pytest.param(
            *(name, "quick" if name in QUICKLY else "slow"),
            id=name,
            marks=[] if name in QUICKLY else pytest.mark.slow,
        )


def agree(folder):
    files = sorted(folder.glob("*.rank0.pt"))
    assert {file.name for file in files} >= {"search.rank0.pt", "genotype.rank0.pt"}
    for file in files:
        first, second = (
            torch.load(path, weights_only=True) for path in (file, file.with_name(file.name.replace("0.pt", "1.pt")))
        )
        assert not differences(first, second, file.name)


@pytest.mark.parametrize(("name", "ran"), list(cases([*CASES, *DOUBLES])))
def test_processes_agree(name, ran, request):
    """Weights, buffers, moments, architecture parameters, decisions, metrics and genotype."""
    agree(request.getfixturevalue(ran) / name)


@pytest.mark.slow
def test_processes_agree_on_text(tmp_path):
    """Each one reads its own columns, from states of its own; of seven to validate on, one reads four and one three."""
    made = {}
    for name, words in TEXTS.items():
        record = ["+callbacks.record._target_=rank_parts.Record", f"+callbacks.record.folder='{tmp_path / name}'"]
        made[name] = as_dict(nl.compose([*TEXT, *words, *record]))
    start_here(rank_parts.search_all, {"trainer": TWO, "cases": made}, tmp_path)
    for name in TEXTS:
        agree(tmp_path / name)
        found = torch.load(tmp_path / name / "search.rank0.pt", weights_only=True)
        assert 1 < found["metrics"]["val_metric"] < 400
        assert differences(found["trajectory"][0], found["trajectory"][-1])


@pytest.mark.parametrize(("name", "ran"), list(cases(DOUBLES)))
def test_two_processes_take_the_steps_of_one(name, ran, request, tmp_path):
    """Half the batch in each of two processes is the whole batch in one, where normalisation sees one image."""
    made = request.getfixturevalue(ran)
    torch.set_default_dtype(torch.float64)
    try:
        config = rank_parts.case(
            [*DOUBLES[name], "space.num_nodes=2"], made / "tiny.npz", tmp_path / name, 16, "GroupNormed"
        )
        (tmp_path / name).mkdir()
        run_search(Workbench(config, RunFolder(tmp_path / name)))
    finally:
        torch.set_default_dtype(torch.float32)
    alone, together = (
        torch.load(folder / name / "search.rank0.pt", weights_only=True)["trajectory"] for folder in (tmp_path, made)
    )
    assert len(alone) == len(together) >= 6
    for one, two in zip(alone, together, strict=True):
        for choice in one:
            torch.testing.assert_close(two[choice], one[choice], rtol=0, atol=1e-5)
    assert not differences(alone[0], alone[0])
    assert differences(alone[0], alone[-1])


@pytest.mark.slow
def test_a_failing_process_ends_the_run(tmp_path):
    with pytest.raises(FaultError, match=r"ValueError: a mistake in process 1; the traceback is in .*run\.rank1\.log$"):
        start_here(rank_parts.fail_in_the_second, {"trainer": TWO}, tmp_path)


def test_what_processes_cannot_share_is_refused():
    with pytest.raises(ConfigError, match=r"trainer.strategy=fsdp: .*use trainer.strategy=ddp"):
        check_processes({**TWO, "strategy": "fsdp"}, "search")
    with pytest.raises(ConfigError, match="task=analyse runs in one process"):
        check_processes(TWO, "analyse")
    with pytest.raises(ConfigError, match=r"trainer.sync_batchnorm=true: .* this run is on the CPU"):
        check_processes({**TWO, "sync_batchnorm": True}, "search")
    with pytest.raises(ConfigError, match=r"trainer\.num_nodes=2"):
        check_processes({**TWO, "num_nodes": 2}, "search")


def test_one_process_needs_no_strategy():
    assert number_of_processes({"accelerator": "cpu", "devices": 1}) == 1
    assert number_of_processes({"accelerator": "cpu", "devices": 2, "num_nodes": 3}) == 6
    assert strategy_of({"accelerator": "cpu", "devices": 1, "strategy": "ddp"}, searches=True) == "auto"
    for searches in (True, False):
        strategy = strategy_of({"accelerator": "cpu", "devices": 2}, searches)
        assert isinstance(strategy, SearchDDP if searches else DDPStrategy)
