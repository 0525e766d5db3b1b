"""The evaluator that trains the discrete network of images from scratch and measures it on the test images."""

from dataclasses import dataclass
from typing import Any

import lightning as L
from torch import nn

from nas_lightning.capture.policy import Policy, reason_of_device, reason_of_processes
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError, MachineError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.data.modules import evaluation_module
from nas_lightning.deployment.description import TrainedNetwork
from nas_lightning.evaluation import transfer
from nas_lightning.evaluation.dropout import add_dropout
from nas_lightning.evaluation.memory import check_memory
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.evaluation.step import check_compiler
from nas_lightning.evaluation.training import Training
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.spaces.network import auxiliary_fits
from nas_lightning.training.processes import number_of_processes
from nas_lightning.training.workbench import Workbench


@dataclass(frozen=True, kw_only=True)
class Retraining(Recipe, Training):
    """Trains on images by a recipe; the last epoch is the result, the best epoch is logged, not reported as such."""

    def check(self, bench: Workbench) -> None:
        """Refuse what cannot be trained, before anything is written.

        Raises:
            ConfigError: The image size or the recipe does not fit the network or the images, or `torch.compile` or
                graphs, if required, do not work on this machine.
        """
        bench.space.check_recipe(self, bench.images.image_size)
        if self.label_smoothing > 0 and not bench.objective.has_classes:
            raise ConfigError(
                f"evaluation.label_smoothing={self.label_smoothing}: objective.metric={bench.objective.metric} has no"
                " classes to smooth; use evaluation.label_smoothing=0"
            )
        if self.weights_of is not None:
            self._check_transfer(self.weights_of, bench)
        if self.dropout:
            self.network(random_genotype(bench.space, bench.config.seed), bench)  # refuses what has no classifier
        super().check(bench)
        device = bench.probe.strategy.root_device
        if self.compile:
            check_compiler(device)
        if self.graph == "required":
            reasons = [reason_of_device(device), reason_of_processes(number_of_processes(bench.config.trainer))]
            Policy(self.graph, "evaluation.graph").refuse_any(reasons)
        if bench.config.task == "pipeline" and not bench.folder.holds_run:  # what to train is not known yet
            check_memory(
                self, lambda: self.network(random_genotype(bench.space, bench.config.seed), bench), bench, found=False
            )

    def _check_transfer(self, run: str, bench: Workbench) -> None:
        """Refuse to start from a run's weights where the network or the task is another.

        Raises:
            ConfigError: It is.
        """
        if bench.config.task != "evaluate":
            raise ConfigError(
                f"evaluation.weights_of={run}: task={bench.config.task} finds a network of its own; use task=evaluate"
                f" genotype={run}"
            )
        if self.random_baseline:
            raise ConfigError(
                f"evaluation.random_baseline={self.random_baseline}: random genotypes have no weights in"
                f" evaluation.weights_of={run}; use evaluation.random_baseline=0"
            )
        if not bench.folder.holds_run:  # a resume has weights of its own
            transfer.check_sizes(run, bench.config.space, {**self._sizes(), "in_channels": bench.images.in_channels})

    def check_genotype(self, genotype: Genotype, bench: Workbench) -> None:
        """Refuse to start from the weights of another genotype.

        Raises:
            ConfigError: The run that `weights_of` names trained another.
        """
        if self.weights_of is not None:
            transfer.check_genotype(self.weights_of, genotype)

    def take_weights(self, network: nn.Module, bench: Workbench) -> None:
        """Start from the weights of the run that `weights_of` names, but for the classifier.

        Raises:
            ConfigError: They do not fit.
        """
        if self.weights_of is not None:
            transfer.take_weights(network, self.weights_of, bench.space.name)

    def _sizes(self) -> dict[str, Any]:
        return {"init_channels": self.init_channels, "layers": self.layers, "stem": self.stem}

    def training_data(self, bench: Workbench) -> Any:
        """Build the data module of the training."""
        return evaluation_module(
            bench.data,
            self.batch_size,
            bench.config.seed,
            bench.loaders.model_dump(exclude={"augment_val"}),
            cutout=self.cutout,
            augment=self.augment,
            images=self.images,
        )

    def sizes(self) -> dict[str, Any]:
        """Return channels and layers, where the space does not fix them."""
        sizes = {"init_channels": self.init_channels, "layers": self.layers}
        return {key: value for key, value in sizes.items() if value is not None}

    def keep_network(self, genotype: Genotype, bench: Workbench) -> None:
        """Write what `task=export` and `task=predict` build the network from."""
        bench.folder.save_network(self.described(genotype, bench).to_json())

    def described(self, genotype: Genotype, bench: Workbench) -> TrainedNetwork:
        """Describe the network so that it can be loaded without the images, which may be gone by then."""
        data, number = bench.images, bench.objective.number
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

    def check_memory(self, network: nn.Module, bench: Workbench) -> None:
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
        data = bench.images
        auxiliary = self.auxiliary > 0 and self.stem is not None and auxiliary_fits(data.image_size, self.stem)
        L.seed_everything(bench.config.seed, workers=True, verbose=False)
        network = bench.space.build_network(genotype, data, bench.objective.outputs(data.num_classes), self, auxiliary)
        add_dropout(network, self.dropout, bench.space.name)
        return network
