"""SmoothDARTS, random and adversarial: four steps over two epochs beside its code, draws by formula."""

import pytest
import torch

from released_code import (
    RecordedPerturbation,
    deviations,
    formula_arch,
    formula_batches,
    module_of,
    released,
    train,
)

# `adversarial` are numbers of the released code whose architecture step was kept from moving running statistics.
OVERRIDES = {
    "random": ["method=sdarts_rs"],
    "adversarial_moving": ["method=sdarts_adv"],
    "adversarial": ["method=sdarts_adv", "search.arch.batch_norm=frozen"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OVERRIDES)
def test_mixing_weights_and_steps_are_those_of_the_released_code(name, tmp_path, monkeypatch):
    numbers = released("sdarts")
    setup = numbers["setup"]
    module, _ = module_of(OVERRIDES[name], setup, tmp_path)
    module.perturbation = recorded = RecordedPerturbation(module.perturbation)
    draws = iter(range(1000))

    def uniform(shape, **_):
        return (formula_arch(*shape, 0.37 + 0.11 * next(draws), 1.0) + 1) / 2

    monkeypatch.setattr(torch, "rand", uniform)
    steps = setup["per_epoch"] * setup["epochs"]
    _, rows = train(module, formula_batches(setup, steps), setup, setup["epochs"])
    rows = [row | {"eps": radius, "used": used} for row, (radius, used) in zip(rows, recorded.found, strict=True)]
    worst = deviations(rows, numbers[name], ("arch", "weights", "momentum", "lr", "eps", "used"))
    assert max(worst.values()) < 1e-9, worst
