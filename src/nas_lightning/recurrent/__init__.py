"""Recurrent cells: their search space, its supernet and the language models of its genotypes."""

from nas_lightning.recurrent.space import RecurrentSpace

__all__ = ["RecurrentSpace"]
