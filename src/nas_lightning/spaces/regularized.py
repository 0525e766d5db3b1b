"""Attach regularizers to a supernet."""

from torch import nn

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.regularizer import Regularizer


class Regularized(nn.Module):
    """A supernet whose operations and edges regularizers act on.

    Attributes:
        regularizers: The attached parts, in the order in which they act.
        learnable: Those of them that are modules; their parameters are trained and saved with the weights.
    """

    regularizers: tuple[Regularizer, ...] = ()

    def attach(self, regularizers: tuple[Regularizer, ...]) -> None:
        """Let these parts see every operation's and every edge's output; learnable ones join the weights.

        Raises:
            ConfigError: A part has parameters but is no nn.Module, so that it could not be saved or substituted.
        """
        for part in regularizers:
            if not isinstance(part, nn.Module) and any(True for _ in part.parameters()):
                raise ConfigError(f"regularizer {type(part).__name__} has parameters: it must be an nn.Module as well")
        self.regularizers = regularizers
        self.learnable = nn.ModuleList(part for part in regularizers if isinstance(part, nn.Module))
