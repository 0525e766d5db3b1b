"""DrNAS with progressive learning beside its code, draws by formula.

Stage 1 (a sixth of the channels): weights alone, then both steps, with either anchor. Then what is kept, the widened
weights, and weight steps of stage 2 (a quarter of the channels). Its architecture steps are not compared: there the
released code goes on sampling the dropped options (`ProgressiveShrinking`).
"""

import pytest
import torch

import nas_lightning as nl
from nas_lightning.relaxations import Dirichlet
from nas_lightning.searches.build import bench_of, build_module
from nas_lightning.searches.stages import SearchState, plan_stages, transfer
from released_code import (
    canonical,
    deviation,
    deviations,
    fingerprint,
    formula_arch,
    formula_batches,
    module_of,
    released,
    train,
)

NUMBERS = released("drnas")
SETUP = NUMBERS["setup"]
ANCHORS = {"l2": [], "kl": ["relaxation=dirichlet_kl", "search.arch.weight_decay=0"]}
KEYS = ("weights", "momentum", "lr")


def overrides():
    second = "{control.progressive_shrinking.options: 4, regularizer.partial_channels.divisor: 4}"
    first, rest = SETUP["first"], SETUP["schedule"] - SETUP["first"]
    return [
        "method=drnas_progressive",
        "space=darts_nonone",
        "search.weights.lr=0.1",
        "search.weights.lr_min=0",
        "search.arch.warmup_epochs=1",
        "regularizer.partial_channels.divisor=6",
        f"search.stages=[{{name: a, epochs: {first}}}, {{name: b, epochs: {rest}, overrides: {second}}}]",
    ]


def dirichlet_draws():
    """A sample of both cell types a pass, a function of the concentrations and of the number of the pass."""
    calls = iter(range(1000))

    def sample(concentration, *_, **__):
        values = concentration * torch.exp(torch.sin(50 * concentration + 0.9 * (next(calls) // 2)))
        return values / values.sum(-1, keepdim=True)

    return sample


def entered(module, trainer, bench, monkeypatch):
    """The module of the second stage with what the first hands over, and the draws that widening has taken."""
    state = SearchState(
        weights=module.state_dict(),
        arch={name: a.detach() for name, a in module.arch.items()},
        optimizers=[optimizer.state_dict() for optimizer in trainer.optimizers],
        progress=module.progress,
        decisions=module.decisions.state_dict(),
        controls={},
    )
    stage = plan_stages(bench.config)[1]
    later = bench_of(bench, stage)
    wide = build_module(later, stage).double()
    calls = []

    def randint(high, size, **_):
        calls.append(high)
        return torch.tensor([(7 * len(calls) + 3 * i) % high for i in range(size[0])])

    with monkeypatch.context() as patched:
        patched.setattr(torch, "randint", randint)
        transfer(state, wide, module.supernet)
    for control in later.build_named("control").values():
        control.at_stage_start(wide)
    return wide, len(calls)


@pytest.mark.parametrize("anchor", ANCHORS)
def test_both_stages_are_those_of_the_released_code(anchor, tmp_path, monkeypatch):
    module, bench = module_of([*overrides(), *ANCHORS[anchor]], SETUP, tmp_path)
    narrow = SETUP["per_epoch"] * SETUP["first"]
    given = formula_batches(SETUP, narrow + SETUP["per_epoch"])
    monkeypatch.setattr(torch, "_sample_dirichlet", dirichlet_draws())
    trainer, rows = train(module, given, SETUP, SETUP["first"])
    worst = deviations(rows, NUMBERS[anchor][:narrow], ("arch", *KEYS))

    wide, number = entered(module, trainer, bench, monkeypatch)
    widened = NUMBERS[f"{anchor}_widened"]
    assert [wide.decisions.kept[name].int().tolist() for name in ("normal", "reduce")] == NUMBERS[f"{anchor}_mask"]
    assert number == widened["draws"]
    worst["widened"] = deviation(fingerprint(canonical(wide.supernet)), widened["weights"])

    _, rows = train(wide, given[narrow:], SETUP, SETUP["first"] + 1)
    later = deviations(rows, NUMBERS[anchor][narrow : narrow + SETUP["per_epoch"]], KEYS)
    worst |= {f"stage 2 {key}": value for key, value in later.items()}
    assert max(worst.values()) < 1e-9, worst


def test_the_anchor_and_its_slope_are_those_of_the_released_code():
    relaxation = Dirichlet(anchor="kl", strength=1e-3)
    relaxation.init(nl.build_space(nl.compose(["space=darts_nonone"])).choices)
    x = formula_arch(14, 7, 0.91, 2.0).requires_grad_()
    value = relaxation.penalty({"normal": x, "reduce": torch.zeros_like(x)})
    (slope,) = torch.autograd.grad(value, x)
    assert deviation(float(value.detach()), NUMBERS["anchor"]["value"]) < 1e-9
    assert deviation(slope.flatten(), NUMBERS["anchor"]["grad"]) < 1e-9
