"""DARTS, first and second order: four steps over two epochs beside the 2018 code."""

import pytest

from released_code import deviations, formula_batches, module_of, released, train


@pytest.mark.parametrize("hypergradient", ["first_order", "unrolled"])
def test_weights_architecture_and_moments_are_those_of_the_released_steps(hypergradient, tmp_path):
    numbers = released("darts")
    setup = numbers["setup"]
    module, _ = module_of(["method=darts", "space=darts", f"hypergradient={hypergradient}"], setup, tmp_path)
    steps = setup["per_epoch"] * setup["epochs"]
    _, rows = train(module, formula_batches(setup, steps), setup, setup["epochs"])
    worst = deviations(rows, numbers[hypergradient], ("arch", "weights", "momentum", "adam", "lr"))
    assert max(worst.values()) < 1e-9, worst
