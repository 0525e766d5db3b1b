"""Dropout before the classifier of a network, with keyed draws."""

import torch
from torch import Tensor, nn

from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError


class DroppedLinear(nn.Linear):
    """A linear classifier that drops units of its input in train mode and scales up what stays.

    Its weights have the names of a plain one. Draws are keyed, which those of `nn.Dropout` are not.

    Attributes:
        probability: Chance that a unit of an image is dropped.
    """

    probability = 0.0

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Compute logits [B, K] of features [B, C]."""
        return super().forward(self._dropped(input) if self.training else input)

    @torch.compiler.disable  # named draws cannot be traced
    def _dropped(self, x: Tensor) -> Tensor:
        keep = 1 - self.probability
        return x * draws.bernoulli(x.shape, keep, x, "dropout") / keep


def classifier_of(network: nn.Module, key: str, space: str) -> nn.Linear:
    """Return the linear classifier of a network: its part `classifier`.

    Args:
        network: The network.
        key: The setting that needs it, with its value, for the message.
        space: Name of its space, likewise.

    Raises:
        ConfigError: It has none.
    """
    found = dict(network.named_children()).get("classifier")
    if not isinstance(found, nn.Linear):
        raise ConfigError(
            f"evaluation.{key}: networks of space={space} have no part `classifier` that is linear; leave the key"
            " out, or name the last layer so"
        )
    return found


def add_dropout(network: nn.Module, probability: float, space: str) -> None:
    """Drop units before the classifier of a network, in place, weights and their names unchanged.

    Args:
        network: The network.
        probability: Chance that a unit is dropped; 0 leaves the network as it is.
        space: Name of its space, for messages.

    Raises:
        ConfigError: It has no linear classifier.
    """
    if not probability:
        return
    classifier = classifier_of(network, f"dropout={probability:g}", space)
    dropped = DroppedLinear(classifier.in_features, classifier.out_features, classifier.bias is not None, device="meta")
    dropped.weight, dropped.bias = classifier.weight, classifier.bias
    dropped.probability = probability
    network.add_module("classifier", dropped)
