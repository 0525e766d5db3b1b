"""Launches of a search step, counted on `meta`: the counter itself, frozen numbers, and what would stall a GPU."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

import nas_lightning as nl
from every_method import METHODS, QUICK, UNTRAINED
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module, stages_of
from nas_lightning.training.workbench import Workbench

ROOT = Path(__file__).parents[2]
META = torch.device("meta")


@pytest.fixture
def module(monkeypatch):
    """Imports a module of benchmarks, whatever folder the tests run in."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def counting(module):
    return module("counting").Counting("meta")


def numbers(launches):
    return launches.operators, launches.kernels, launches.bytes


# The counter against what is counted by hand --------------------------------------------------------------------------


def test_views_and_allocations_are_free(counting):
    x = torch.ones(4, 6, device=META)
    with counting:
        x.view(2, 12).t()[0].unsqueeze(0).expand(3, 2).detach()
        x.split(2)
        x.unbind()
        torch.empty(5, device=META)
        torch.empty_like(x)
    assert numbers(counting.total) == (0, 0, 0)


def test_an_addition_reads_two_tensors_and_writes_one(counting):
    x = torch.ones(10, device=META)
    with counting:
        x + x
    assert numbers(counting.total) == (1, 1, 3 * 10 * 4)


def test_what_the_host_computes_is_not_counted(counting):
    with counting:
        torch.ones(3) + torch.tensor(1.0)
        assert torch.ones(3).sum().item() == 3
    assert numbers(counting.total) == (0, 0, 0)
    assert not counting.reads


def test_kernels_of_convolutions_and_batch_normalisations(counting):
    x = torch.ones(2, 4, 8, 8, device=META, requires_grad=True)
    dense, depthwise = (torch.ones(4, n, 3, 3, device=META, requires_grad=True) for n in (4, 1))
    mean, var = torch.zeros(4, device=META), torch.ones(4, device=META)
    for name, run, inputs, forward, backward in (
        (
            "dense",
            lambda: F.conv2d(x, dense),
            [x, dense],
            2,
            5,
        ),  # layout and product; 2 for the input, 3 for the weights
        ("weights alone", lambda: F.conv2d(x.detach(), dense), [dense], 2, 3),
        ("depthwise", lambda: F.conv2d(x, depthwise, groups=4), [x, depthwise], 1, 2),
        ("batch", lambda: F.batch_norm(x, mean, var, training=True), [x], 3, 1),
        ("frozen batch", lambda: F.batch_norm(x, None, None, training=True), [x], 3, 1),
        ("running", lambda: F.batch_norm(x, mean, var), [x], 1, 1),
    ):
        with counting, counting.phase(name):
            y = run()
            torch.autograd.grad(y, inputs, torch.empty_like(y))
        assert numbers(counting.phases[name])[:2] == (1, forward), name
        assert numbers(counting.phases[f"{name} backward"])[:2] == (1, backward), name


@pytest.mark.parametrize(
    ("run", "kernels"),
    [
        (lambda xs: torch._foreach_mul_(xs, 2.0), 2),  # 110 + 10
        (lambda xs: torch._foreach_add_(xs, xs), 2),  # two lists: 64 + 56
        (lambda xs: torch._foreach_add(xs, xs), 3),  # and that of the results: 48 + 48 + 24
        (lambda xs: torch._foreach_addcmul_(xs, xs, xs), 3),
        (lambda xs: torch._foreach_add(xs[:48], xs[:48]), 1),
    ],
)
def test_kernels_of_lists_by_their_tensors(counting, run, kernels):
    xs = [torch.ones(4, device=META) for _ in range(120)]
    with counting:
        run(xs)
    assert (counting.total.operators, counting.total.kernels) == (1, kernels)


@pytest.mark.parametrize(("blocks", "kernels"), [(320, 1), (321, 2), (640, 2), (961, 4)])
def test_kernels_of_lists_by_their_blocks(module, blocks, kernels):
    half = torch.empty(65536 * (blocks - 1) - 5, device=META)
    assert (
        module("counting").foreach_kernels([[half, torch.empty(0, device=META), torch.empty(9, device=META)]])
        == kernels
    )


def test_phases_tell_backward_passes_apart(counting):
    x = torch.ones(3, device=META, requires_grad=True)
    with counting:
        with counting.phase("arch"):
            y = (x * x).sum()  # 2
            torch.autograd.grad(y, x)  # ones_like before the pass; two products and their sum within
            with counting.phase("optimizer"):
                x.detach().add_(1)
        x.detach() + 1
    assert {name: found.operators for name, found in counting.phases.items()} == {
        "arch": 3, "arch backward": 3, "optimizer": 1, "": 1,
    }  # fmt: skip


def test_numbers_that_the_host_reads_are_found_with_their_places(counting):
    x = torch.ones(3, device=META)
    with counting:
        for read in (lambda: x.sum().item(), lambda: x.nonzero(), lambda: bool(x[0] > 0)):
            with pytest.raises((RuntimeError, NotImplementedError)):  # there are no numbers on `meta`
                read()
    assert sum(counting.reads.values()) == 3
    assert all(place.startswith(__file__) for place in counting.reads)


def test_copies_between_devices_are_found(counting):
    x = torch.ones(3, device=META)
    copies = [
        lambda: torch.ones(3).to(META),
        lambda: torch.tensor(1.0, device=META),
        lambda: torch.as_tensor([1.0], device=META),
        lambda: x.new_tensor([1.0]),
        lambda: x[torch.tensor([0, 1])],
        lambda: x.copy_(torch.ones(3)),
        lambda: x.copy_(torch.tensor(1.0)),
    ]
    with counting:
        for copy in copies:
            copy()
    assert sum(counting.copies.values()) == len(copies)
    before = dict(counting.copies)
    with counting:
        x * torch.tensor(2.0)  # an argument of the kernel
        x.new_full((), 3.0)
        x.clone()
        torch.as_tensor(x, device=META)
    assert counting.copies == before


# Frozen numbers -------------------------------------------------------------------------------------------------------

SIZES = ["--cells", "3", "--stage-cells", "1", "--channels", "4", "--batch", "2", "--image", "8", "--threads", "1"]
OPERATORS = {
    "darts": (9331, 2209),
    "darts_nonone": (8639, 2209),
    "s1": (1933, 1004),
    "s2": (2867, 976),
    "s3": (3559, 976),
    "s4": (2379, 1258),
    "s5": (656, 494),
    "nasbench201": (1747, 586),
}
"""Operators of a first-order step with three cells: of the reference exactly, of the fast engine at most."""


QUICKLY = ("nasbench201",)
"""The other spaces are counted with the slow tests."""


@pytest.mark.parametrize(
    "space", [pytest.param(name, marks=[] if name in QUICKLY else pytest.mark.slow) for name in OPERATORS]
)
def test_operators_of_a_step(module, space):
    """A change of the reference's number is one of what is computed; one of the fast engine's should go down."""
    launches = module("launches")
    reference, fast = (
        launches.row_of(space, "first order", engine, launches.arguments(SIZES)) for engine in launches.ENGINES
    )
    for row in (reference, fast):
        assert (row["host_reads"], row["copies"]) == ({}, {})
        assert set(row["phases"]) == set(launches.PHASES)
        assert row["kernels"] > row["operators"] > 0
    exact, most = OPERATORS[space]
    assert reference["operators"] == exact
    assert fast["operators"] <= most


def test_all_sides_are_shown_and_written(module, tmp_path, capsys):
    file = tmp_path / "launches.json"
    module("launches").main([*SIZES, "--space", "s5", "--operators", "2", "--json", str(file)])
    found = json.loads(file.read_text())
    assert found["machine"]["device"] == "meta"
    assert [row["engine"] for row in found["rows"]] == ["classical", "reference", "fast"]
    for row in found["rows"]:
        for what in ("operators", "kernels", "bytes"):
            assert sum(phase[what] for phase in row["phases"].values()) == row[what]
        assert sum(row["by_operator"].values()) == row["operators"]
    assert "kernels on CUDA are an estimate" in " ".join(capsys.readouterr().out.split())


def test_a_step_of_a_method_that_draws_is_counted_on_the_cpu(module):
    launches = module("launches")
    for method in launches.DRAWN:
        row = launches.row_of("s3", method, "fast", launches.arguments([*SIZES, "--samples", "2"]))
        assert (row["device"], row["batch"], row["steps"]) == ("cpu", 2, 2)
        assert ("arch" in row["phases"]) == (method == "GDAS")
        assert 0 < row["operators"] < OPERATORS["s3"][0]


# What would stall a GPU -----------------------------------------------------------------------------------------------

NUMBERS, NO_AUTOCAST = "meta tensor", "unsupported scalarType"
DEVICE_DRAWS = "META device type not an accelerator"
NOT_ON_META = {
    "drnas": NO_AUTOCAST,  # and behind that, samples that are drawn on the CPU
    "drnas_progressive": NO_AUTOCAST,
    "gdas": NUMBERS,  # the host asks which options were drawn
    "noisy_darts": DEVICE_DRAWS,  # a generator of the device for each draw
    "noisy_darts_nfa": DEVICE_DRAWS,
    "noisy_darts_pt": DEVICE_DRAWS,
    "rdarts_dp": DEVICE_DRAWS,
    "rs_ws": NUMBERS,  # as gdas
    "rsps": NUMBERS,
    "setn": NUMBERS,
}
"""Methods whose step cannot run there, by what torch says."""
JITTER = {"perturbations/simplex.py"}
PARTIAL = {"spaces/node_by_node.py", "hypergradients/inner.py"}
COPIES = {
    "beta_sdarts_rs": JITTER,
    "pc_darts": PARTIAL,  # the weights of edges are picked by places on the host, and so are their gradients
    "pc_sdarts_adv": PARTIAL | JITTER,
    "pc_sdarts_rs": PARTIAL | JITTER,
    "sdarts_adv": JITTER,  # drawn on the CPU, so that a seed means the same on every device
    "sdarts_rs": JITTER,
    "sdarts_rs_pt": JITTER,
    "snas": {"relaxations/gumbel.py"},  # the same
}
"""Files that still copy something to the device in each step, by method: at most these."""


def files(places):
    return {place.rpartition(":")[0] for place in places}


def module_on_meta(tiny, folder, method, engine="fast"):
    """The module of the first stage of a search, on `meta`."""
    words = [*tiny, f"method={method}", "space.num_nodes=2", f"engine={engine}", *QUICK.get(method, [])]
    cfg = nl.compose(["task=search", *words])
    folder.mkdir(exist_ok=True)
    bench = Workbench(as_dict(cfg), RunFolder(folder))
    search = build_module(bench, stages_of(bench)[0]).to(META)
    # What needs a trainer, which knows no such device: the optimizers as they are, no log, and not the guard against
    # non-finite losses, whose one flag is copied while the backward pass runs.
    optimizers = search.configure_optimizers()
    search.optimizers = lambda use_pl_optimizer=True: optimizers
    search.manual_backward = lambda loss: loss.backward()
    search.log = lambda *args, **options: None
    search._finite = SimpleNamespace(watch=lambda loss: None, check=lambda *args: None)
    for part in search.regularizers.values():
        part.at_epoch(search.progress.last_epoch - 1)
    search.progress.search_epoch = search.progress.last_epoch - 1  # schedules that start at 0 act there
    return search


def step(search):
    """Both steps on images of `meta`."""
    batch = torch.empty(2, 1, 8, 8, device=META), torch.zeros(2, dtype=torch.long, device=META)
    train, arch = (search.seen(batch, stream) for stream in ("train", "arch"))
    if search.learns_arch:
        search.arch_step(train, arch, 0)
    search.weight_step(train, 0)
    search.progress.num_steps += 1


ONE_OF_EACH_KIND = ("darts", "pc_darts", "sgas", "gdas")


@pytest.mark.parametrize(
    "method",
    [pytest.param(m, marks=[] if m in ONE_OF_EACH_KIND else pytest.mark.slow) for m in METHODS if m not in UNTRAINED],
)
def test_no_step_makes_the_host_wait(tiny, tmp_path, counting, method):
    """Neither a number read nor a tensor copied, in a second step: the first sets up what is set up only once."""
    search = module_on_meta(tiny, tmp_path / "run", method)
    if method in NOT_ON_META:
        with pytest.raises((RuntimeError, NotImplementedError), match=NOT_ON_META[method]):
            step(search)
        return
    step(search)
    with counting:
        step(search)
    assert counting.total.operators > 100
    assert not counting.reads
    assert files(counting.copies) <= COPIES.get(method, set())


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_decisions_do_not_make_the_host_wait(tiny, tmp_path, counting, engine):
    search = module_on_meta(tiny, tmp_path / "run", "sdarts_rs", engine)
    search.decisions.decide("normal", 0, 1)
    search.decisions.prune("reduce", 2)
    search.settle()
    step(search)
    with counting:
        step(search)
    assert not counting.reads
    assert files(counting.copies) <= JITTER
