"""No hypergradient: zeros, and no loss is evaluated."""

import torch

from nas_lightning.hypergradients import Bilevel, Nothing


def refuse(*_):
    raise AssertionError("nothing is to be computed")


def test_zeros_without_a_pass():
    arch = {
        "normal": torch.ones(3, 2, dtype=torch.float64, requires_grad=True),
        "edge": torch.full((1, 4), torch.nan, requires_grad=True),
    }
    found, loss = Nothing()(Bilevel(refuse, refuse, {"w": torch.ones(2)}, arch, refuse, refuse))
    assert list(found) == list(arch)
    for name, value in found.items():
        assert (value.shape, value.dtype) == (arch[name].shape, arch[name].dtype)
        assert value.eq(0).all()
        assert not value.requires_grad
    assert (loss.shape, loss.item()) == ((), 0.0)
    assert not Nothing().learns
    assert not Nothing().second_order
