"""The training of a discrete network from scratch, whatever it reads, and its measurement on the test part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import lightning as L
import torch
from pydantic import Field
from torch import nn

from nas_lightning.callbacks import (
    Cost,
    EpochCheckpoint,
    InterruptAtEpochEnd,
    Preemption,
    after_epochs,
    hardware,
    out_of_time,
)
from nas_lightning.core.errors import ConfigError, Interrupted, NonFiniteError
from nas_lightning.core.functional import count_parameters, macs_of
from nas_lightning.core.genotypes import Genotype
from nas_lightning.data.modules import evaluation_module
from nas_lightning.evaluation.module import EvaluationModule
from nas_lightning.evaluation.optimizers import fused_on
from nas_lightning.evaluation.recipe import BaseRecipe
from nas_lightning.training.processes import number_of_processes
from nas_lightning.training.workbench import Workbench, callback_of


@dataclass(frozen=True, kw_only=True)
class Training(BaseRecipe):
    """Trains by a recipe; the last epoch is the result, the best epoch is logged and never reported as such.

    A subclass names the sizes of its networks, and overrides what its kind of data needs.
    """

    trains_briefly = True
    pauses = True

    def check(self, bench: Workbench) -> None:
        """Refuse what cannot be trained, before anything is written.

        Raises:
            ConfigError: The data do not fit the recipe.
        """
        data = self.training_data(bench)
        data.expected_processes = number_of_processes(bench.config.trainer)
        data.setup("fit")

    def training_data(self, bench: Workbench) -> Any:
        """Build the data module of the training."""
        loading = bench.loaders.model_dump(exclude={"augment_val"})
        return evaluation_module(bench.data, self.batch_size, bench.config.seed, loading, images=self.images)

    def network(self, genotype: Genotype, bench: Workbench) -> nn.Module:
        """Build the network, its weights drawn from the run's seed."""
        L.seed_everything(bench.config.seed, workers=True, verbose=False)
        return self.bare_network(genotype, bench)

    def bare_network(self, genotype: Genotype, bench: Workbench) -> nn.Module:
        """Build the network without auxiliary head; torch's generator draws the weights."""
        return bench.space.build_network(genotype, bench.data, bench.objective.outputs(bench.data.num_classes), self)

    def module(self, network: nn.Module, bench: Workbench, genotype: Genotype | None = None) -> EvaluationModule:
        """Build the module that trains a network."""
        built_from = None if genotype is None else genotype.to_dict()
        return EvaluationModule(network, bench.objective, self, bench.config.seed, built_from)

    def sizes(self) -> dict[str, Any]:
        """Return the sizes of the network, for the section `evaluation` of the summary."""
        raise NotImplementedError

    def take_weights(self, network: nn.Module, bench: Workbench) -> None:
        """Change the random weights of a network, in place, before its first step; by default nothing.

        Raises:
            ConfigError: The weights to start from do not fit.
        """

    def check_memory(self, network: nn.Module, bench: Workbench) -> None:
        """Refuse the training of a network that does not fit the memory, where that can be predicted.

        Raises:
            MachineError: It does not fit.
        """

    def keep_network(self, genotype: Genotype, bench: Workbench) -> None:
        """Write a description of the trained network into the run folder, where it can be used without the data."""

    def __call__(self, genotype: Genotype, bench: Workbench) -> dict[str, Any]:
        """Train, or resume from the run folder's checkpoint, and test.

        Args:
            genotype: The architecture.
            bench: Space, data, objective and folder of the run.

        Returns:
            The `evaluation` section of the summary.

        Raises:
            ConfigError: The genotype, the data and the recipe do not fit each other, or the checkpoint belongs to
                another genotype.
            MachineError: The training does not fit the memory; the folder can be resumed.
            Interrupted: The training was stopped; the folder can be resumed.
        """
        return self.train_to(genotype, bench, self.epochs)

    def train_to(self, genotype: Genotype, bench: Workbench, epochs: int) -> dict[str, Any]:
        """Train, or resume from the run folder's checkpoint, to the end of some epochs, and test.

        Learning rate, drop-path and the order of images are functions of the epoch and of `self.epochs`, and a
        checkpoint holds the rest: a training that pauses here gives the same bits as one that does not.

        Args:
            genotype: The architecture.
            bench: Space, data, objective and folder of the run.
            epochs: Epochs from the start, at most `self.epochs` and no less than those trained already.

        Raises:
            ConfigError: As `__call__`.
            MachineError: As `__call__`.
            Interrupted: As `__call__`.
            NonFiniteError: The loss is not finite; the error has the cost up to there.
        """
        network = self.network(genotype, bench)
        self.check_memory(network, bench)
        cost = Cost()
        checkpoints = bench.folder.checkpoints / "evaluation"
        trainer = bench.trainer(
            "evaluation",
            self.epochs,
            checkpoints,
            max_epochs=epochs,
            checkpoint=EpochCheckpoint(checkpoints, minutes=self.checkpoint_minutes),
            extra=[cost],
        )
        data = self.training_data(bench)
        path, saved = bench.folder.resumable("evaluation") or (None, None)
        if saved is None:
            self.take_weights(network, bench)
        module = self.module(network, bench, genotype)
        # The networks of two genotypes can have equal shapes, so that loading alone would not notice the mistake.
        if saved is not None and saved["evaluation"]["genotype"] != genotype.to_dict():
            raise ConfigError(
                f"resume={bench.folder}: checkpoints/evaluation belongs to another genotype; delete it"
                " to train this one"
            )
        interrupt = callback_of(trainer, InterruptAtEpochEnd)
        with interrupt.listening(bench.folder), callback_of(trainer, Preemption).listening():
            try:
                trainer.fit(module, datamodule=data, ckpt_path=path)
            except NonFiniteError as error:  # in all processes at once, and after a resume at the same step
                error.images, error.seconds = cost.images, round(cost.state_dict()["seconds"], 3)
                raise
            done = trainer.current_epoch
            # Ranks must agree: one that entered the test alone would wait for the others.
            stopped = trainer.strategy.reduce_boolean_decision(interrupt.requested or out_of_time(trainer), all=False)
            if not stopped:
                (result,) = trainer.test(module, datamodule=data, verbose=False) or [{}]
        if stopped or interrupt.requested:  # Ctrl-C during the test, too
            at = after_epochs(done, self.epochs)
            raise Interrupted(f"stopped {at}; continue with {bench.folder.command()}")
        self.keep_network(genotype, bench)
        return {**self._results(module, result, bench, done), **cost.report(), **hardware(bench.config.trainer)}

    def _measured(self, module: EvaluationModule, result: Mapping[str, float]) -> dict[str, float | None]:
        """Return the values of the metric and, of an accuracy, the error."""
        goal, value = module.goal, result.get(module.metric_name)
        value, best = (None if v is None or v == goal.worst else goal.rounded(v) for v in (value, module.best))
        tested = goal.entries("test", value if self.measured_on == "test" else None)
        accuracy = tested["test_accuracy"]
        return {
            **tested,
            "test_error": None if accuracy is None else round(100 - accuracy, 4),
            **(goal.entries("val", value) if self.measured_on == "val" else {}),
            **goal.entries("best_epoch", best),
            **({} if module.unaveraged is None else {goal.key("unaveraged"): goal.rounded(module.unaveraged)}),
        }

    def _results(
        self, module: EvaluationModule, result: Mapping[str, float], bench: Workbench, epochs: int
    ) -> dict[str, Any]:
        """Return the measured values, sizes and settings, for the section `evaluation` of the summary."""
        network, data = module.network, bench.data
        return {
            "recipe": self.name,
            **self._measured(module, result),
            "params": count_parameters(network),
            "params_auxiliary": count_parameters(network, auxiliary=True) - count_parameters(network),
            "macs": macs_of(network, data.unit(next(network.parameters()).device)),
            "epochs": epochs,
            **self.sizes(),
            **({} if self.graph == "off" else {"graph": module.step.policy.summary}),
        }


@dataclass(frozen=True, kw_only=True)
class AdamTraining(Training):
    """Trains by Adam, with coupled weight decay.

    Args:
        drop_path: Largest probability of dropping a path; in epoch e of E it is e/E of this.
        betas: Decay of Adam's averages of the gradient and of its square.
    """

    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def build_optimizer(self, weights: Sequence[nn.Parameter]) -> torch.optim.Adam:
        """Build Adam on all weights, fused if their device supports it."""
        return torch.optim.Adam(
            weights,
            lr=self.lr,
            betas=self.betas,
            weight_decay=self.weight_decay,
            fused=fused_on(weights),
        )
