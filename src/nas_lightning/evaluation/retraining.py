"""The evaluator that trains the discrete network from scratch and measures it on the test images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
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
from nas_lightning.capture.policy import Policy, reason_of_device, reason_of_processes
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError, Interrupted, MachineError
from nas_lightning.core.functional import count_macs, count_parameters
from nas_lightning.core.genotypes import Genotype
from nas_lightning.data.module import EvaluationData
from nas_lightning.deployment.description import TrainedNetwork
from nas_lightning.evaluation.memory import check_memory
from nas_lightning.evaluation.module import EvaluationModule
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.evaluation.step import check_compiler
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.spaces.network import auxiliary_fits
from nas_lightning.training.processes import number_of_processes
from nas_lightning.training.workbench import Workbench, callback_of


@dataclass(frozen=True)
class Retraining(Recipe):
    """Trains by a recipe; the last epoch is the result, the best epoch is logged and never reported as such."""

    trains_briefly = True

    def check(self, bench: Workbench) -> None:
        """Refuse what cannot be trained, before anything is written.

        Raises:
            ConfigError: The image size or the recipe does not fit the network or the images, or `torch.compile` or
                graphs, if required, do not work on this machine.
        """
        bench.space.check_image_size(bench.data.image_size, self.layers, self.stem)
        if self.label_smoothing > 0 and not bench.objective.has_classes:
            raise ConfigError(
                f"evaluation.label_smoothing={self.label_smoothing}: objective.metric={bench.objective.metric} has no"
                " classes to smooth; use evaluation.label_smoothing=0"
            )
        images = self.training_data(bench)
        images.expected_processes = number_of_processes(bench.config.trainer)
        images.setup("fit")
        device = bench.probe.strategy.root_device
        if self.compile:
            check_compiler(device)
        if self.graph == "required":
            reasons = [reason_of_device(device), reason_of_processes(images.expected_processes)]
            Policy(self.graph, "evaluation.graph").refuse_any(reasons)
        if bench.config.task == "pipeline" and not bench.folder.holds_run:  # what to train is not known yet
            check_memory(
                self, lambda: self.network(random_genotype(bench.space, bench.config.seed), bench), bench, found=False
            )

    def training_data(self, bench: Workbench) -> EvaluationData:
        """Build the data module of the training."""
        return EvaluationData(
            bench.data,
            self.batch_size,
            bench.config.seed,
            cutout=self.cutout,
            images=self.images,
            **bench.loaders.model_dump(exclude={"augment_val"}),
        )

    def described(self, genotype: Genotype, bench: Workbench) -> TrainedNetwork:
        """Describe the network so that it can be loaded without the images, which may be gone by then."""
        data, number = bench.data, bench.objective.number
        return TrainedNetwork(
            space=bench.config.space,
            genotype=genotype.to_dict(),
            num_classes=bench.objective.outputs(data.num_classes),
            in_channels=data.in_channels,
            image_size=data.image_size,
            init_channels=self.init_channels,
            layers=self.layers,
            stem=self.stem,
            class_names=tuple(map(str, data.class_names)) if number is None else (),
            mean=data.mean,
            std=data.std,
            preprocessing=data.preprocessing(),
            data=data.name,
            number=number,
        )

    def __call__(self, genotype: Genotype, bench: Workbench) -> dict[str, Any]:
        """Train, or resume from the run folder's checkpoint, and test.

        Args:
            genotype: The architecture.
            bench: Space, data, objective and folder of the run.

        Returns:
            The `evaluation` section of the summary.

        Raises:
            ConfigError: The genotype, the image size and the recipe do not fit each other, or the checkpoint belongs to
                another genotype.
            MachineError: The training does not fit the memory; the folder can be resumed.
            Interrupted: The training was stopped; the folder can be resumed.
        """
        network = self.network(genotype, bench)
        self._check_memory(network, bench)
        cost = Cost()
        checkpoints = bench.folder.checkpoints / "evaluation"
        trainer = bench.trainer(
            "evaluation",
            self.epochs,
            checkpoints,
            max_epochs=self.epochs,
            checkpoint=EpochCheckpoint(checkpoints, minutes=self.checkpoint_minutes),
            extra=[cost],
        )
        images = self.training_data(bench)
        module = EvaluationModule(network, bench.objective, self, bench.config.seed, genotype.to_dict())
        # The networks of two genotypes can have equal shapes, so that loading alone would not notice the mistake.
        path, saved = bench.folder.resumable("evaluation") or (None, None)
        if saved is not None and saved["evaluation"]["genotype"] != genotype.to_dict():
            raise ConfigError(
                f"resume={bench.folder}: checkpoints/evaluation belongs to another genotype; delete it"
                " to train this one"
            )
        interrupt = callback_of(trainer, InterruptAtEpochEnd)
        with interrupt.listening(bench.folder), callback_of(trainer, Preemption).listening():
            trainer.fit(module, datamodule=images, ckpt_path=path)
            epochs = trainer.current_epoch
            # Ranks must agree: one that entered the test alone would wait for the others.
            stopped = trainer.strategy.reduce_boolean_decision(interrupt.requested or out_of_time(trainer), all=False)
            if not stopped:
                (result,) = trainer.test(module, datamodule=images, verbose=False) or [{}]
        if stopped or interrupt.requested:  # Ctrl-C during the test, too
            done = after_epochs(epochs, self.epochs)
            raise Interrupted(f"stopped {done}; continue with {bench.folder.command()}")
        bench.folder.save_network(self.described(genotype, bench).to_json())
        return {
            **self._results(module, result, bench, epochs),
            **cost.report(),
            **hardware(bench.config.trainer),
        }

    def _check_memory(self, network: nn.Module, bench: Workbench) -> None:
        """Refuse the training of a network that does not fit; of several processes, the start has decided.

        Raises:
            MachineError: It does not fit.
        """
        if ranks.count() > 1:
            return
        try:
            check_memory(self, lambda: network, bench)
        except ConfigError as error:
            raise MachineError(
                f"{error}, with task=evaluate genotype={bench.folder} and the other words of this command; or continue"
                f" when more is free: {bench.folder.command()}"
            ) from error

    def network(self, genotype: Genotype, bench: Workbench) -> nn.Module:
        """Build the network, its weights drawn from the run's seed."""
        data = bench.data
        auxiliary = self.auxiliary > 0 and auxiliary_fits(data.image_size, self.stem)
        L.seed_everything(bench.config.seed, workers=True, verbose=False)
        return bench.space.network(
            genotype,
            bench.objective.outputs(data.num_classes),
            data.in_channels,
            self.init_channels,
            self.layers,
            auxiliary,
            self.stem,
        )

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
            "macs": count_macs(network, data.in_channels, data.image_size),
            "epochs": epochs,
            "init_channels": self.init_channels,
            "layers": self.layers,
            **({} if self.graph == "off" else {"graph": module.step.policy.summary}),
        }
