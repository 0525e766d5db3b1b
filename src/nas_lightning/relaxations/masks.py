"""What relaxations share: which options take part, and neutral versions of what not every relaxation needs.

Shapes: R rows and O options of a choice.
"""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from nas_lightning.core.choices import Active, Choice, Mixing
from nas_lightning.core.protocols import Tensors


def masked_softmax(logits: Tensor, kept: Tensor | None) -> Tensor:
    """Softmax over the kept options of each row.

    Args:
        logits: [R, O]; whatever stands outside of `kept` enters neither the result nor its gradient.
        kept: Boolean [R, O]; None keeps everything.

    Returns:
        Weights [R, O], exactly 0 outside of `kept`; a row of which nothing is kept is all zeros, also in its gradient.

    >>> kept = torch.tensor([[True, True, False], [False, False, False]])
    >>> masked_softmax(torch.zeros(2, 3), kept)
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    if kept is None:
        return torch.softmax(logits, dim=-1)
    # A row of minus infinities would be nan: where nothing is kept, the softmax is of zeros and then taken out.
    filling = torch.where(kept.any(dim=-1, keepdim=True), -torch.inf, 0.0).to(logits.dtype)
    return torch.softmax(torch.where(kept, logits, filling), dim=-1).masked_fill(~kept, 0)


class Masked:
    """Keeps track of the options that take part: those that the choices have, or as far as a restriction says.

    By itself it computes every option and penalises nothing.
    """

    def __init__(self) -> None:
        self._choices: dict[str, Choice] = {}
        self._kept: dict[str, Tensor] = {}  # boolean [R, O] by choice, on the CPU
        self._placed: dict[tuple[str, torch.device], Tensor | None] = {}  # the same where it was asked for

    def _remember(self, choices: Mapping[str, Choice]) -> None:
        """Begin with these choices, unrestricted."""
        self._choices = dict(choices)
        self.restrict({})

    def restrict(self, kept: Mapping[str, Tensor]) -> None:
        """From now on only these options take part, in place of an earlier restriction.

        The weights of the others are exactly 0, those of the kept ones of a row sum to 1; a row of which nothing is
        kept is all zeros.

        Args:
            kept: Boolean [R, O] by choice; options that a row does not have stay out, and choices that are not named
                are unrestricted.
        """
        self._kept = {
            name: choice.mask & kept[name].cpu() if name in kept else choice.mask
            for name, choice in self._choices.items()
        }
        self._placed = {}

    def _mask(self, name: str, device: torch.device) -> Tensor | None:
        """Which options of a choice take part, boolean [R, O] on a device; None where all do."""
        if (name, device) not in self._placed:
            kept = self._kept.get(name)  # without `init` nothing is known of the choice
            self._placed[name, device] = None if kept is None or kept.all() else kept.to(device)
        return self._placed[name, device]

    def active(self, mixing: Mixing) -> Active | None:
        """None: every option is computed."""
        return None

    def penalty(self, arch: Tensors) -> Tensor | None:
        """None."""
        return None


class Logits(Masked):
    """Architecture parameters that start as small Gaussian noise.

    Args:
        init_std: Standard deviation of the first parameters.
    """

    def __init__(self, init_std: float) -> None:
        super().__init__()
        self.init_std = init_std

    def init(self, choices: Mapping[str, Choice], generator: Generator | None = None) -> Tensors:
        """Parameters init_std·N(0, 1) by choice, each [R, O]; an earlier restriction is forgotten."""
        self._remember(choices)
        return {
            name: self.init_std * torch.randn(choice.num_rows, choice.num_options, generator=generator)
            for name, choice in choices.items()
        }
