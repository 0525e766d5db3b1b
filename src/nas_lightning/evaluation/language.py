"""The evaluator that trains a language model from scratch and measures its perplexity on the test text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn

from nas_lightning.config.sections import DropoutConfig
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import Kind
from nas_lightning.evaluation.averaging import AveragedSgd, Compat
from nas_lightning.evaluation.language_module import LanguageModule
from nas_lightning.evaluation.module import EvaluationModule
from nas_lightning.evaluation.training import Training
from nas_lightning.training.workbench import Workbench


class Sizes(NamedTuple):
    """What a recurrent space asks of a recipe."""

    hidden: int
    dropout: DropoutConfig


@dataclass(frozen=True, kw_only=True)
class LanguageTraining(Training):
    """Trains a language model; the weights of the best epoch on the validation text are the result.

    So the perplexity of the validation text is that of the best epoch, and the test text is read once.

    Args:
        hidden: Units H of embedding and state.
        dropout: Probabilities of the dropouts: `words`, `inputs`, `x`, `hidden` and `outputs`.
        optimizer: `adam`; or `sgd_asgd`, SGD without momentum that averages its weights once the validation loss has
            stalled, for good. The rate of a step is in proportion to the length of its chunk.
        nonmono: For `sgd_asgd`: the loss has stalled when it exceeds the least of all but so many losses before it.
        compat: For `sgd_asgd`: `released` lets rates lag one step behind once weights are averaged, as released code
            does.
        recoveries: How often training may go on from the best weights after a loss that is not finite.
    """

    inputs: ClassVar[Kind] = "text"

    hidden: Annotated[int, Field(ge=1)]
    dropout: dict[Literal["words", "inputs", "x", "hidden", "outputs"], Annotated[float, Field(ge=0, lt=1)]]
    optimizer: Literal["adam", "sgd_asgd"] = "adam"
    nonmono: Annotated[int, Field(ge=0)] = 5
    compat: Compat = "none"
    recoveries: Annotated[int, Field(ge=0)] = 0

    def build_optimizer(self, weights: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """Build the optimizer of all weights."""
        if self.optimizer == "adam":
            return torch.optim.Adam(weights, lr=self.lr, weight_decay=self.weight_decay)
        return AveragedSgd(weights, lr=self.lr, weight_decay=self.weight_decay, compat=self.compat)

    def bare_network(self, genotype: Genotype, bench: Workbench) -> nn.Module:
        """Build the network; torch's generator draws the weights."""
        outputs = bench.objective.outputs(bench.data.num_classes)
        return bench.space.build_network(
            genotype, bench.data, outputs, Sizes(self.hidden, DropoutConfig(**self.dropout))
        )

    def module(self, network: nn.Module, bench: Workbench, genotype: Genotype | None = None) -> LanguageModule:
        """Build the module that trains a network."""
        built_from = None if genotype is None else genotype.to_dict()
        return LanguageModule(
            network, bench.objective, self, bench.config.seed, built_from, self.nonmono, self.recoveries
        )

    def sizes(self) -> dict[str, Any]:
        """Return the number of hidden units."""
        return {"hidden": self.hidden}

    def _measured(self, module: EvaluationModule, result: Mapping[str, float]) -> dict[str, float | None]:
        """Return the metric of the test text, and that of the validation text at the epoch that was tested."""
        best = None if module.best == module.goal.worst else module.goal.rounded(module.best)
        return super()._measured(module, result) | module.goal.entries("val", best)
