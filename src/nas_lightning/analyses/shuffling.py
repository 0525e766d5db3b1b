"""Accuracy that a trained network loses when parts of it are swapped: little in a supernet, all in a plain network.

Of an objective that reports another metric, its value takes the place of the accuracy throughout.

Source: Wang et al., Rethinking architecture selection in differentiable NAS (ICLR 2021), Table 2.1 of Wang's thesis:
DARTS' supernet 88.44 → 81.09 ± 1.87 %, a ResNet 93.86 → 83.20 ± 2.03 %, a VGG 92.69 → 9.83 ± 0.33 %. It is evidence
that the edges of a supernet estimate one feature map, as the blocks of a ResNet do. There is no released code; the
networks, their recipe and the number of repetitions are ours.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Annotated, Any, Literal

import lightning as L
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nas_lightning.analyses.base import QUIET, Allowance, Origin, fit, show_table
from nas_lightning.analyses.figures import save_shuffling
from nas_lightning.analyses.networks import VGG, ResNet, Staged
from nas_lightning.analyses.swaps import Pair, draw_pair, edge_pairs, edges_swapped, equal_pairs, search_cells, swapped
from nas_lightning.callbacks import InterruptAtEpochEnd, LiveDisplay
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import evaluating
from nas_lightning.data.module import EvaluationData
from nas_lightning.evaluation.module import EvaluationModule
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.training.workbench import Workbench

Size = dict[Literal["channels", "depth"], Annotated[int, Field(ge=3)]]
NETWORKS: dict[str, type[Staged]] = {"resnet": ResNet, "vgg": VGG}
SUPERNET, NOTHING = "supernet", "nothing"
MOVING, STAYING = "edges and weights", "edges alone"


class Shuffling:
    """Swaps two random parts of every cell or stage, repeatedly, and measures the accuracy without any training.

    In the supernet, two edges of equal stride are swapped in every cell, each cell with a pair of its own: all
    candidate operations, once with their mixing weights and once without. In the reference networks, two residual
    blocks (ResNet) or two layers of convolution, normalisation and ReLU (VGG) of equal shape are swapped in every
    stage. Batch normalisation uses its running statistics.

    As published, accuracies are on the test images. They select and control nothing.

    Args:
        repetitions: Number of random swaps; the thesis gives none.
        networks: Reference networks to train: `channels` of the first stage and `depth`, blocks or layers per stage,
            each at least 3.
        images: Their training images: `full`, all of them, or `search_halves`, the half on which the weights of the
            supernet were trained.
        epochs: Epochs of their training: SGD with Nesterov momentum 0.9 and a cosine schedule to 0.
        batch_size: Images per step.
        lr: Learning rate of the first epoch.
        weight_decay: L2 coefficient.
        seed: Seed of the swaps; None is the run's.

    Raises:
        ConfigError: A network lacks `channels` or `depth`.
    """

    of_supernet = True

    def __init__(
        self,
        networks: dict[Literal["resnet", "vgg"], Size],
        repetitions: Annotated[int, Field(ge=2)] = 10,
        images: Literal["full", "search_halves"] = "full",
        epochs: Annotated[int, Field(ge=1)] = 100,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        lr: Annotated[float, Field(gt=0)] = 0.1,
        weight_decay: Annotated[float, Field(ge=0)] = 5e-4,
        seed: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        for name, size in networks.items():
            missing = [key for key in ("channels", "depth") if key not in size]
            if missing:
                key = f"analysis.networks.{name}.{missing[0]}"
                raise ConfigError(f"{key} is missing; give it on the command line, {key}=16")
        self.networks = networks
        self.repetitions = repetitions
        self.images: Literal["full", "search_halves"] = images
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.seed = seed

    def check(self, bench: Workbench) -> None:
        """Refuse a run without a supernet, a supernet with nothing to swap, and missing images.

        Raises:
            ConfigError: The run cannot be analysed.
        """
        _, module = Origin(bench).module()
        if not any(edge_pairs(cell, module.decisions.kept[cell.choice.name]) for cell in search_cells(module.supernet)):
            raise ConfigError(
                f"run={bench.config.run}: no cell of its supernet has two edges that can be swapped; give another run"
            )
        if not len(self._test_images(bench)):
            raise ConfigError(f"run={bench.config.run}: there are no test images to measure on; give another run")
        self._data(bench, self.images).setup("fit")

    def __call__(self, bench: Workbench) -> dict[str, Any]:
        """Measure the networks that the table lacks; write table and figure, return means and standard deviations."""
        start, goal = time.perf_counter(), bench.objective.goal
        key = goal.key("test")
        origin, allowance = Origin(bench), Allowance(bench)
        rows: list[dict[str, Any]] = [dict(row) for row in bench.folder.read_analysis()]
        for name in (SUPERNET, *self.networks):
            if any(row["network"] == name for row in rows):  # a network's rows are written together
                continue
            allowance.begin()
            found = self._supernet(bench, origin) if name == SUPERNET else self._network(bench, name)
            rows += [
                {"network": name, "swapped": what, "repetition": number, key: goal.rounded(value)}
                for what, values in found.items()
                for number, value in enumerate(values)
            ]
            bench.folder.save_analysis(rows)
        frame = pd.DataFrame(rows).astype({key: float})
        save_shuffling(rows, bench.folder.plots, goal)
        networks: list[dict[str, Any]] = [
            {
                "network": network,
                "swapped": what,
                "repetitions": len(same) if what != NOTHING else 0,
                f"{key}_mean": goal.rounded(float(same.mean())),
                f"{key}_std": goal.rounded(float(same.std())) if len(same) > 1 else None,
            }
            for (network, what), same in frame.groupby(["network", "swapped"], sort=False)[key]
        ]
        show_table(
            "parts swapped at random, without training",
            ["network", "swapped", goal.heading(f"test {goal.name}")],
            [
                [
                    str(row["network"]),
                    str(row["swapped"]),
                    goal.mean_and_std(row[f"{key}_mean"], row[f"{key}_std"]),
                ]
                for row in networks
            ],
            f"{self.repetitions} repetitions; the test images select nothing here",
        )
        seconds = round(time.perf_counter() - start, 3)
        about = {"name": "shuffling", "run": bench.config.run, "epoch": origin.epoch, "seconds": seconds}
        return {**about, "networks": networks}

    def _supernet(self, bench: Workbench, origin: Origin) -> dict[str, list[float]]:
        """Measure the supernet: values by the kind of swap."""
        _, module = origin.module()
        trainer = bench.plain_trainer([], max_epochs=1, **QUIET)
        module = module.to(trainer.strategy.root_device)
        means, active = module.at_mean()
        mixing = {name: weights.detach().to(trainer.strategy.root_device) for name, weights in means.items()}
        cells = search_cells(module.supernet)
        pairs = [edge_pairs(cell, module.decisions.kept[cell.choice.name]) for cell in cells]

        def measure() -> float:
            return self._accuracy(bench, trainer, module.supernet, lambda x: module.supernet(x, mixing, active))

        found: dict[str, list[float]] = {NOTHING: [measure()], MOVING: [], STAYING: []}
        for repetition in range(self.repetitions):
            drawn = self._draw(bench, repetition, pairs)  # both kinds of swap see the same edges
            with edges_swapped(cells, drawn, mixing, active):
                found[MOVING].append(measure())
            with edges_swapped(cells, drawn):
                found[STAYING].append(measure())
        return found

    def _network(self, bench: Workbench, name: str) -> dict[str, list[float]]:
        """Train a reference network and measure it: values by the kind of swap."""
        data, seed, size = bench.images, bench.config.seed, self.networks[name]  # type: ignore[index]
        L.seed_everything(seed, workers=True, verbose=False)
        outputs = bench.objective.outputs(data.num_classes)
        network = NETWORKS[name](outputs, data.in_channels, data.image_size, size["channels"], size["depth"])
        recipe = Recipe(
            name=name,
            epochs=self.epochs,
            batch_size=self.batch_size,
            init_channels=size["channels"],
            layers=size["depth"],
            lr=self.lr,
            nesterov=True,
            weight_decay=self.weight_decay,
            clip=None,
            auxiliary=0.0,
            drop_path=0.0,
            cutout=0,
            images=self.images,
        )
        module = EvaluationModule(network, bench.objective, recipe, seed)
        callbacks = [LiveDisplay(name, self.epochs), InterruptAtEpochEnd()]
        trainer = bench.plain_trainer(callbacks, max_epochs=self.epochs, **QUIET)
        fit(bench, trainer, module, self._data(bench, self.images))
        network = network.to(trainer.strategy.root_device)
        stages: list[Any] = list(network.stages)
        pairs = [equal_pairs([unit.shape for unit in stage]) for stage in stages]

        def measure() -> float:
            return self._accuracy(bench, trainer, network, network)

        found: dict[str, list[float]] = {NOTHING: [measure()], network.unit: []}
        for repetition in range(self.repetitions):
            with ExitStack() as stack:
                for stage, pair in zip(stages, self._draw(bench, repetition, pairs), strict=True):
                    if pair is not None:
                        stack.enter_context(swapped(stage, *pair))
                found[network.unit].append(measure())
        return found

    def _draw(self, bench: Workbench, repetition: int, pairs: Sequence[list[Pair]]) -> list[Pair | None]:
        """Draw a pair of parts for every cell or stage; None if it has none."""
        seed = bench.config.seed if self.seed is None else self.seed
        return [
            draw_pair(possible, draws.seeded_generator(seed, "parts to swap", repetition, index))
            for index, possible in enumerate(pairs)
        ]

    def _accuracy(
        self, bench: Workbench, trainer: L.Trainer, network: nn.Module, forward: Callable[[Tensor], Tensor]
    ) -> float:
        """Return the metric on the test images, in its unit."""
        device = trainer.strategy.root_device
        metric = bench.objective.new_metric().to(device)
        for index, (images, targets) in enumerate(self._test_images(bench)):
            scope = draws.keyed(bench.config.seed, 0, f"test {index}")
            with torch.no_grad(), evaluating(network), trainer.precision_plugin.forward_context(), scope:
                outputs = forward(images.to(device))
            metric.update(outputs, targets.to(device))
        return bench.objective.goal.in_unit(float(metric.compute()))

    def _data(self, bench: Workbench, images: Literal["full", "search_halves"]) -> EvaluationData:
        loaders = bench.loaders.model_dump(exclude={"augment_val"})
        return EvaluationData(bench.images, self.batch_size, bench.config.seed, images=images, **loaders)

    def _test_images(self, bench: Workbench) -> DataLoader[Any]:
        """Return the batches of the test images, in index order."""
        data = self._data(bench, "full")
        data.setup("test")
        return data.test_dataloader()
