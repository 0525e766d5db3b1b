"""What is settled, combined: selection after greedy decisions, edge weights of what is gone, searches that diverged."""

import shutil

import pytest
import torch

import nas_lightning as nl
from cases import build_space
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.errors import NonFiniteError
from nas_lightning.relaxations import Softmax
from nas_lightning.runs.folder import RunFolder
from nas_lightning.selectors import Perturbation

GREEDY = ["+control=greedy_decisions", "control.greedy_decisions.interval=1", "control.greedy_decisions.batch_growth=0"]
SMALL = ["space=s3", "space.num_nodes=2"]
PT = ["selector=perturbation", "selector.tune_epochs=1", "selector.batches=1"]


def last(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.slow
def test_selection_after_greedy_decisions_settles_what_is_left(tiny, tmp_path):
    """S5 has two rows: SGAS decides one of each cell, so that one decision is left and nothing is tuned in between."""
    own = [*tiny, "space=s5", "search.epochs=2", *GREEDY, "control.greedy_decisions.first_epoch=1"]
    result = nl.search(nl.compose([*own, *PT]), run_dir=tmp_path / "one")
    assert {row["phase"] for row in RunFolder(tmp_path / "one").read_metrics()} == {"search"}
    nl.build_space(nl.compose([*tiny, "space=s5"])).validate(result.genotype)
    # Two rows are left where nothing is decided: a decision before the epoch of tuning, and one after it.
    nl.search(nl.compose([*tiny, "space=s5", "search.epochs=2", *PT]), run_dir=tmp_path / "none")
    phases = [row["phase"] for row in RunFolder(tmp_path / "none").read_metrics()]
    assert phases == ["search", "search", "selection"]


def test_the_stage_of_selection_is_as_long_as_what_is_left():
    space = build_space("s3")
    decisions = Decisions(space.choices)
    search = type("Search", (), {"weights": type("Weights", (), {"lr": 0.025})})
    assert Perturbation().tuning(space, search, decisions).epochs == 5 * (14 + 3 - 1)
    for name in space.choices:
        for row in range(13):
            decisions.decide(name, row, 1)
    assert Perturbation().tuning(space, search, decisions).epochs == 5 * (1 + 3 - 1)
    for name in space.choices:
        decisions.decide(name, 13, 1)
        for row in (2, 5, 6, 9, 10, 11):
            decisions.prune(name, row)
    assert Perturbation().tuning(space, search, decisions) is None


def test_masking_during_greedy_decisions_is_counted(tiny, tmp_path):
    words = [*tiny, *SMALL, *GREEDY, "control.greedy_decisions.first_epoch=0"]
    words.append("control.greedy_decisions.operation=perturbation")
    result = nl.search(nl.compose(words), run_dir=tmp_path / "run")
    # Two epochs, each deciding an edge of both cells between two operations on all of val.
    assert result.summary["selection"]["validation_passes"] == 2 * 2 * 2


def test_weights_of_edges_that_are_gone_go_to_the_others():
    space = build_space("s3").variant(edge_weights=True)
    relaxation = Softmax(init_std=1.0)
    arch = relaxation.init(space.choices, torch.Generator().manual_seed(0))
    decisions = Decisions(space.choices)
    for row in (9, 11, 13):  # of the five edges into node 5
        decisions.prune("normal", row)
    relaxation.restrict(decisions.restriction)
    found = relaxation(arch)["normal_edge"][3]
    logits = arch["normal_edge"][3].double()
    expected = torch.zeros(5, dtype=torch.float64)
    expected[[1, 3]] = logits[[1, 3]].exp() / logits[[1, 3]].exp().sum()
    assert torch.allclose(found.double(), expected, atol=1e-6)
    untouched = relaxation(arch)["reduce_edge"]
    assert torch.allclose(untouched.sum(dim=1), torch.ones(4))


@pytest.mark.parametrize("method", ["darts_pt", "darts_pt_fixed_alpha", "rsps", "setn"])
def test_a_search_that_diverged_ends_with_an_error_and_no_genotype(method, tiny, tmp_path):
    """It ends at the step; otherwise every mask is equally good and the first operation of each edge is chosen."""
    quick = {
        "rsps": ["selector.candidates=2", "selector.batches=1"],
        "setn": ["selector.candidates=2", "selector.batches=1"],
    }
    words = [f"method={method}", "space=s2", "space.num_nodes=2", "search.weights.lr=1e30", "search.weights.clip=null"]
    with pytest.raises(NonFiniteError, match="loss is nan"):
        nl.search(nl.compose([*tiny, *words, *quick.get(method, PT[1:])]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run" / "genotype.json").exists()


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["method=gdas", "perturbation=random"], "sampled paths cannot be perturbed"),
        (["method=setn", "perturbation=adversarial"], "sampled paths cannot be perturbed"),
        (["method=sgas", "search.arch.warmup_epochs=1"], "control.greedy_decisions.first_epoch=1"),
        (
            ["search.arch.warmup_epochs=1", "search.stages=[{name: a, epochs: 1}, {name: b, epochs: 1}]"],
            "a has only 1 epochs",
        ),
    ],
)
def test_what_would_learn_nothing_is_refused(overrides, told, tiny, tmp_path):
    greedy = ["control.greedy_decisions.first_epoch=0"] if "method=sgas" in overrides else []
    with pytest.raises(nl.ConfigError, match=told):
        nl.search(nl.compose([*tiny, "space=s3", *overrides, *greedy]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_dropped_parameters_stay_to_the_bit(tiny, tmp_path):
    stages = (
        "search.stages=[{name: a, epochs: 1}, {name: b, epochs: 2, overrides:"
        " {control.progressive_shrinking.options: 2}}]"
    )
    words = [stages, "search.epochs=3", "search.snapshots=1", "+control=progressive_shrinking", "search.arch.lr=0.1"]
    nl.search(nl.compose([*tiny, *SMALL, *words]), run_dir=tmp_path / "run")
    before = torch.load(tmp_path / "run" / "checkpoints" / "epoch=1.ckpt", weights_only=True)
    after = last(tmp_path / "run")
    for name, offered in after["search"]["decisions"]["offered"].items():
        assert (~offered).sum() == 5  # an option of each row
        old, new = before["search"]["arch"][name], after["search"]["arch"][name]
        assert torch.equal(old[~offered], new[~offered])
        assert not torch.isclose(old[offered], new[offered]).any()


def test_an_unfinished_search_is_selected_from_only_where_its_epoch_is_named(tiny, tmp_path):
    nl.search(nl.compose([*tiny, *SMALL, "search.snapshots=1"]), run_dir=tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text("{}")
    shutil.copy(tmp_path / "run/checkpoints/epoch=1.ckpt", tmp_path / "run/checkpoints/last.ckpt")
    words = ["task=select", f"run={tmp_path / 'run'}", "selector=magnitude", "trainer=cpu"]
    with pytest.raises(nl.ConfigError, match="has finished only 1 epochs"):
        nl.select(nl.compose(words), run_dir=tmp_path / "selected")
    nl.select(nl.compose([*words, "epoch=1"]), run_dir=tmp_path / "selected")


def test_what_a_selector_refuses_another_may_select_from(tiny, tmp_path):
    """Of a search of all its epochs, no epoch has to be named."""
    words = [*tiny, *SMALL, "method=fair_darts", "selector.threshold=0.9"]
    with pytest.raises(nl.ConfigError, match="lower it on the finished search"):
        nl.search(nl.compose(words), run_dir=tmp_path / "run")
    words = ["task=select", f"run={tmp_path / 'run'}", "selector=threshold", "selector.threshold=0.45", "trainer=cpu"]
    assert nl.select(nl.compose(words), run_dir=tmp_path / "selected").genotype
