"""Passes of a search through graphs: their stand-in in whole searches, against eager code."""

import csv
import json
import logging
from functools import partial

import pytest
import torch
from torch.func import functional_call

import nas_lightning as nl
from capture_safety import on_meta, refused_on_meta
from cases import build_space, images, random_mixing, tiny_supernet
from every_method import METHODS, QUICK, STEERED, UNTRAINED
from nas_lightning.capture import CaptureError, Graphed, stand_in
from nas_lightning.capture.graphs import Recorder, Recorders
from nas_lightning.config.compose import as_dict
from nas_lightning.core import draws
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.regularizers import Noise
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches import passes as passes_module
from nas_lightning.searches.passes import SupernetPasses
from nas_lightning.spaces import NasBench201Space
from nas_lightning.tasks.run import run_task
from whole_runs import cut_off_and_resumed_equals_whole

QUICKLY = ("noisy_darts",)
"""The others take as long, and what of them is in the graphs is captured in quick tests, too."""
SAMPLED = ("gdas", "rs_ws", "rsps", "setn")
"""Their graphs compute all options, with weight 0 for those that are not drawn: another order of summation."""


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


def outcome(folder):
    """Rows of the tables without times, the last checkpoint, the summary."""
    rows = []
    for name in ("metrics.csv", "curvature.csv"):
        if (folder / name).exists():
            with (folder / name).open(newline="") as file:
                rows += [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]
    summary = json.loads((folder / "summary.json").read_text())
    return rows, RunFolder(folder).checkpoint("last.ckpt"), summary


def searched(tiny, method, folder, setting):
    if method in STEERED:
        tiny = [override for override in tiny if override != "~callbacks.curvature"]
    words = [*tiny, "space.num_nodes=2", f"method={method}", *QUICK.get(method, []), f"graph={setting}"]
    with stand_in():
        return nl.search(nl.compose(words), run_dir=folder)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, marks=[] if method in QUICKLY else pytest.mark.slow)
        for method in METHODS
        if method not in (*UNTRAINED, "rdarts_l2", "rdarts_dp")  # no supernet; members are searches of darts
    ],
)
def test_a_search_is_that_of_eager_code(tiny, tmp_path, method):
    found = []
    for setting in ("off", "required"):
        searched(tiny, method, tmp_path / setting, setting)
        found.append(outcome(tmp_path / setting))
    (rows, eager, plain), (others, graphed, summary) = found
    assert summary["search"]["graph"].startswith("on")
    assert "graph" not in plain["search"]
    assert plain["config_hash"] == summary["config_hash"]
    assert summary["genotype"] == plain["genotype"]
    weights, arch = eager["state_dict"], eager["search"]["arch"]
    assert list(graphed["state_dict"]) == list(weights)
    if method in SAMPLED:
        for name, weight in graphed["state_dict"].items():
            torch.testing.assert_close(weight, weights[name], rtol=0, atol=1e-5)
        return
    assert others == rows
    assert all(torch.equal(graphed["search"]["arch"][name], a) for name, a in arch.items())
    assert all(torch.equal(graphed["state_dict"][name], weight) for name, weight in weights.items())
    moments = [str(saved["optimizer_states"]) for saved in (eager, graphed)]
    assert moments[0] == moments[1]


@pytest.mark.slow
def test_a_resumed_search_captures_anew(tiny, tmp_path):
    """Graphs are no part of a checkpoint."""
    words = [*tiny, "task=search", "search.epochs=2", "graph=required"]
    with stand_in():
        cut_off_and_resumed_equals_whole(words, "search", 1, tmp_path)


@pytest.mark.slow
def test_a_rollback_copies_into_what_the_graphs_read(tiny, tmp_path, caplog):
    caplog.set_level(logging.INFO, "nas_lightning")
    # Curvature that a control finds growing, whatever the network.
    words = [
        *[word for word in tiny if word != "~callbacks.curvature"],
        *("method=darts_ada", "search.epochs=4", "space=s5", "space.num_nodes=1"),
        *("trusted=[lightning_parts]", "callbacks.curvature._target_=lightning_parts.InjectedCurvature"),
        *("+callbacks.curvature.series=[1,1,9,9,9,9,9,9]", "callbacks.curvature.interval=1"),
        *(f"control.adaptive_rollback.{value}" for value in ("window=1", "delta=1", "offset=1", "start_epoch=0")),
    ]
    found = []
    for setting in ("off", "required"):
        with stand_in():
            nl.search(nl.compose([*words, f"graph={setting}"]), run_dir=tmp_path / setting)
        found.append(outcome(tmp_path / setting)[0])
    assert found[0] == found[1]
    assert any(row.get("event") for row in found[0]), "no rollback"
    captured = [r.message for r in caplog.records if r.message.startswith("cuda graph")]

    # Second order: at w, at w', at w±; weights; validation. None after the rollback.
    assert len(captured) == 5, captured


def test_a_run_by_graphs_serves_machines_without_them(tiny, tmp_path):
    """What was searched with graph=required is selected from, and goes on, with another setting."""
    words = [*tiny, "task=search", "search.epochs=1", "graph=required"]
    with stand_in():
        first = nl.search(nl.compose(words), run_dir=tmp_path / "run")
    run_task(
        as_dict(nl.compose(["task=select", f"run={tmp_path / 'run'}", "trainer=cpu"])), RunFolder(tmp_path / "one")
    )
    selected = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert selected["genotype"] == first.genotype.to_dict()
    summary = nl.resume(tmp_path / "run", ["graph=off"])
    assert summary["genotype"] == first.genotype.to_dict()


# Single passes --------------------------------------------------------------------------------------------------------


class Opened:
    """Decisions that a test makes."""

    active = None

    def __call__(self):
        return self.active


def passes_of(setting="required", parts=(), space=None, **sizes):
    space = build_space("s3") if space is None else space
    net = tiny_supernet(space, layers=3, **sizes).double()
    net.attach(tuple(parts))
    opened = Opened()
    return SupernetPasses(net, parts, opened, setting), opened


def drawn(space, seed, none):
    """One option of each row, the first of which is `none`."""
    rng, first = torch.Generator().manual_seed(seed), 0 if none else 1
    return {
        name: torch.nn.functional.one_hot(
            torch.randint(first, choice.num_options, (choice.num_rows,), generator=rng), choice.num_options
        ).bool()
        for name, choice in space.choices.items()
    }


def trained(setting, none, steps=3, momentum=0.9):
    """A supernet, its momenta and its passes after steps on paths that are drawn."""
    space = build_space("s3")
    passes, _ = passes_of(setting)
    net = passes.supernet.train()
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=momentum, weight_decay=0.1)
    with stand_in():
        for step in range(steps):
            mixing = {name: weights.requires_grad_() for name, weights in random_mixing(space).items()}
            active = drawn(space, step % 2, none)
            with draws.keyed(0, step, "weights"):
                outputs = passes(images(seed=step), mixing, active)
            outputs.sin().sum().backward()
            passes.release()
            sgd.step()
            sgd.zero_grad()
    momenta = {name: sgd.state[p].get("momentum_buffer") for name, p in net.named_parameters()}
    return net, momenta, passes.policy


@pytest.mark.parametrize("none", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_drawn_paths_leave_the_others_as_they_were_to_the_bit(none):
    """Three steps on two paths: what neither of them holds is not moved, decayed or counted."""
    (eager, momenta, _), (graphed, found, policy) = trained("off", none), trained("required", none)
    assert policy.captures == (0 if none else 1)
    assert policy.passing == (["a drawn path holds `none`"] if none else [])
    untouched = {name for name, momentum in momenta.items() if momentum is None}
    assert untouched == {name for name, momentum in found.items() if momentum is None}
    assert 0 < len(untouched) < len(momenta)
    buffers = dict(eager.named_buffers())
    for name, value in graphed.state_dict().items():
        expected = eager.state_dict()[name]
        still = name in untouched or (name in buffers and torch.equal(expected, torch.zeros_like(expected)))
        if still or not value.is_floating_point():
            assert torch.equal(value, expected), name
        else:
            torch.testing.assert_close(value, expected, rtol=0, atol=1e-10, msg=name)


def test_masks_of_a_selector_need_one_graph():
    space = build_space("s3")
    passes, _ = passes_of()
    eager, _ = passes_of("off")
    mixing = random_mixing(space)
    passes.supernet.eval(), eager.supernet.eval()
    with stand_in(), torch.no_grad():
        for row in range(5):
            active = {name: choice.mask.clone() for name, choice in space.choices.items()}
            active["normal"][row, 0] = False
            expected = eager(images(), mixing, active)
            torch.testing.assert_close(passes(images(), mixing, active), expected, rtol=0, atol=1e-12)
    assert passes.policy.captures == 1


@pytest.mark.parametrize(("divisor", "captures"), [(1, 1), (2, 0)])
def test_a_mask_that_empties_an_edge_takes_its_bypass_with_it(divisor, captures):
    """With partial channels: then no graph holds it."""
    space = build_space("s3").variant(partial_channels=divisor)
    passes, _ = passes_of(space=space)
    eager, _ = passes_of("off", space=space)
    passes.supernet.eval(), eager.supernet.eval()
    active = {name: choice.mask.clone() for name, choice in space.choices.items()}
    active["normal"][0] = active["reduce"][3] = False
    with stand_in(), torch.no_grad():
        found = passes(images(), random_mixing(space), active)
    torch.testing.assert_close(found, eager(images(), random_mixing(space), active), rtol=0, atol=1e-12)
    assert passes.policy.captures == captures


def test_a_failed_capture_leaves_undrawn_weights_alone(monkeypatch):
    """The first drawn path finds that nothing can be captured, and is computed eagerly with weights of 0."""
    space = build_space("s3")
    passes, _ = passes_of("auto")
    monkeypatch.setattr(Recorder, "capture", lambda self, run: (_ for _ in ()).throw(CaptureError("no")))
    active = drawn(space, 0, none=False)
    with stand_in():
        passes(images(), random_mixing(space), active).sin().sum().backward()
        passes.release()
    assert passes.policy.summary == "off: no"
    learnt = {name for name, p in passes.supernet.named_parameters() if p.grad is not None}
    eager, _ = passes_of("off")
    eager(images(), random_mixing(space), active).sin().sum().backward()
    assert learnt == {name for name, p in eager.supernet.named_parameters() if p.grad is not None}


def test_a_run_that_fails_before_its_capture_is_no_error(monkeypatch):
    passes, _ = passes_of("auto")

    def out_of_memory(self, run):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(Recorders, "warm_up", out_of_memory)
    with stand_in(), torch.no_grad():
        assert passes(images(), random_mixing(build_space("s3"))).isfinite().all()
    assert passes.policy.summary == "off: the run before the capture failed (CUDA out of memory.)"


def test_a_path_without_the_options_of_a_learning_regularizer_is_eager():
    """Its parameters would get a gradient of zeros, and then decay."""
    space = build_space("s3")
    noise = Noise("skip_connect", 0.5, learnable=True)
    noise.build(space)
    passes, _ = passes_of("required", (noise,), space)
    active = {name: torch.zeros_like(choice.mask) for name, choice in space.choices.items()}
    for kept in active.values():
        kept[:, 2] = True  # separable convolutions alone
    with stand_in():
        passes(images(), random_mixing(space), active).sum().backward()
    assert noise.rho["normal"].grad is None
    assert passes.policy.passing == ["a drawn path, and a regularizer that learns"]


@pytest.mark.slow
def test_many_decisions_are_not_too_many_captures(monkeypatch):
    monkeypatch.setattr(passes_module, "Graphed", partial(Graphed, limit=5))
    space = build_space("s3")
    passes, opened = passes_of()
    with stand_in(), torch.no_grad():
        for row in range(2):
            for option in range(1, 3):
                for mode in (True, False):
                    opened.active = {name: choice.mask.clone() for name, choice in space.choices.items()}
                    opened.active["normal"][row, option] = False
                    passes.supernet.train(mode)
                    passes(images(2), random_mixing(space), opened.active)
    assert passes.policy.captures == 8
    assert passes.policy.summary == "on"


def test_decisions_are_captured_anew_and_cost_nothing():
    """What decisions close is not computed at all: its numbers may be infinite."""
    space = build_space("s3")
    passes, opened = passes_of()
    mixing = random_mixing(space)
    with stand_in(), torch.no_grad():
        passes(images(), mixing)
        opened.active = {name: choice.mask.clone() for name, choice in space.choices.items()}
        opened.active["normal"][0, 0] = False
        closed = passes.supernet.cells[0].edges[0].operations[0]
        for parameter in closed.parameters():
            parameter.fill_(torch.inf)
        outputs = passes(images(), mixing, opened.active)
        expected = passes.supernet(images(), mixing, opened.active)
    assert outputs.isfinite().all()
    assert passes.policy.captures == 2
    assert torch.equal(outputs, expected)


class Loud(Regularizer):
    def on_op(self, y, op, edge):
        return 2 * y


def test_a_regularizer_that_does_not_say_so_keeps_graphs_off(caplog):
    caplog.set_level(logging.INFO, "nas_lightning")
    passes, _ = passes_of("auto", (Loud(),))
    reason = f"regularizer {Loud.__module__}.Loud acts on operations"
    assert passes.policy.summary == f"off: {reason}"
    assert [r.message for r in caplog.records] == [f"engine: cuda graph off: {reason}"]
    with pytest.raises(
        nl.ConfigError, match=r"^graph=required: regularizer .*Loud acts on operations; write graph=auto"
    ):
        passes_of("required", (Loud(),))


def test_on_a_cpu_the_reason_is_said_and_written(tiny, tmp_path, caplog):
    caplog.set_level(logging.INFO, "nas_lightning")
    nl.search(nl.compose([*tiny, "graph=auto", "search.epochs=1"]), run_dir=tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["search"]["graph"] == "off: images are on the cpu"
    assert [r.message for r in caplog.records].count("engine: cuda graph off: images are on the cpu") == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [([], "images are on the cpu"), (["method=noisy_darts"], "images are on the cpu")],
)
def test_required_on_a_cpu_is_refused_before_anything_is_written(tiny, tmp_path, words, reason):
    with pytest.raises(nl.ConfigError, match=rf"^graph=required: {reason}; write graph=auto"):
        nl.search(nl.compose([*tiny, *words, "graph=required"]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("space", ["darts", "s1", "s4", "nasbench201"])
def test_waves_can_be_captured(space):
    """On `meta`, whose tensors take the branches of a GPU: nothing is read, copied from the host or drawn unseen."""
    space = NasBench201Space() if space == "nasbench201" else build_space(space)
    net = on_meta(tiny_supernet(space, layers=3).float().train())

    def function(weights, inputs, options):
        mixing = {name: value for name, value in inputs.items() if name != "images"}
        return functional_call(net, dict(weights), (inputs["images"], mixing))

    inputs = {"images": images().float(), **{n: m.float() for n, m in random_mixing(space).items()}}
    assert refused_on_meta(function, net, inputs) is None
