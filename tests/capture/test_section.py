"""One captured pass by itself: what it makes of its tensors, and what it leaves behind."""

import pytest
import torch

from nas_lightning.capture.graphs import CaptureError, Recorders
from nas_lightning.capture.section import Memory, Section
from nas_lightning.core import draws


def section_of(function, given, shared=None, needs=None, buffers=()):
    shared = [False] * len(given) if shared is None else shared
    needs = [t.requires_grad for t in given] if needs is None else needs
    return Section(function, given, shared, needs, buffers, Recorders(), Memory())


def test_a_closed_form():
    """y = a²·b with b in memory of its own: dy/da = 2ab, dy/db = a²; c is not used."""
    a, b, c = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (2.0, 3.0, 5.0))
    section = section_of(lambda t: t[0].square() * t[1], [a, b, c], shared=[True, False, False])
    with torch.no_grad():
        a.fill_(4.0)  # shared: seen without a copy
    other = torch.tensor([7.0], dtype=torch.float64, requires_grad=True)
    y = section([a, other, c])
    found = torch.autograd.grad(y.sum(), [a, other, c], allow_unused=True)
    assert (y.item(), found[0].item(), found[1].item(), found[2]) == (112.0, 56.0, 16.0, None)


def test_outputs_without_a_gradient():
    x = torch.ones(3, requires_grad=True)
    section = section_of(lambda t: (t[0] * 2, t[0].detach() + 1), [x])
    doubled, constant = section([x])
    assert (doubled.requires_grad, constant.requires_grad) == (True, False)
    only = section_of(lambda t: t[0].detach() + 1, [x])([x])
    assert (only.tolist(), only.requires_grad) == ([2.0] * 3, False)


def test_buffers_move_once_a_pass():
    counter = torch.zeros(())

    def function(tensors):
        counter.add_(1)
        return tensors[0] * counter

    section = section_of(function, [torch.ones(2)], buffers=[counter])
    assert counter == 0
    for number in (1, 2, 3):
        assert section([torch.ones(2)]).tolist() == [number] * 2
        assert counter == number


def test_draws_are_made_anew_in_their_order():
    log = []

    def draw(name):
        def make():
            log.append(name)
            return torch.full((2,), float(len(log)))

        return draws.outside(make)

    section = section_of(lambda t: (t[0] + draw("a"), t[0] + draw("b")), [torch.zeros(2)])
    first = [t.tolist() for t in section([torch.zeros(2)])]
    assert (log, first) == (["a", "b"], [[1.0] * 2, [2.0] * 2])
    section([torch.zeros(2)])
    assert log == ["a", "b", "a", "b"]


def test_a_further_draw_is_refused():
    counts = iter([1, 1, 2])

    def function(tensors):
        return tensors[0] + sum(draws.outside(lambda: torch.ones(2)) for _ in range(next(counts)))

    section = section_of(function, [torch.zeros(2)])
    with pytest.raises(CaptureError, match="draws more often"):
        section([torch.zeros(2)])
