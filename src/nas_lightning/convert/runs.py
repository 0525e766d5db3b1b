"""Converter of one's own runs to a table that evaluation=tabular reads: the ground truth of a small space.

Source: the regret of RobustDARTS (Zela et al., ICLR 2020, section 4), which needs every architecture of S5 trained.
"""

import gzip
import logging
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas_lightning.config.parts import check_part, target_of
from nas_lightning.convert.base import Converter, Track
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import untracked
from nas_lightning.core.space import SearchSpace
from nas_lightning.deployment.description import TrainedNetwork
from nas_lightning.evaluation.contents import Trained, header
from nas_lightning.evaluation.reliability import reliability
from nas_lightning.reports.runs import read_config, summaries
from nas_lightning.runs import documents, layout
from nas_lightning.runs.files import replacing
from nas_lightning.spaces.enumeration import architecture, count, number_of

log = logging.getLogger(__name__)


@dataclass
class Trainings:
    """All trainings on one data set.

    Args:
        first: Folder of the run with which the others are compared.
        trained: Sizes of its network and images.
        protocol: The keys `evaluation.*` and `data.*` of its configuration.
        accuracies: Accuracies in percent, by the number of the architecture and the seed.
    """

    first: Path
    trained: Trained
    protocol: dict[str, str]
    accuracies: dict[int, dict[int, float]] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """Return all seeds that occur, ascending."""
        return sorted({seed for found in self.accuracies.values() for seed in found})

    @property
    def column(self) -> str:
        """Return the name of the column of means."""
        return self.trained.name("test", self.trained.epochs[0])


class Runs(Converter):
    """Writes one row per architecture, in the order of the space, with the mean accuracy and that of each seed.

    Only finished runs count that trained a network and measured it on the test images. On one data set, all must share
    their training settings.

    Args:
        source: Run folders, or a folder or a glob that finds some.
        target: The `.csv` or `.csv.gz` file to write.
        overwrite: Whether to replace an existing target.
    """

    ending = (".csv", ".csv.gz")

    def __call__(self, track: Track = untracked) -> Path:
        """Convert the source to the target; see `Converter`.

        Raises:
            ConfigError: No run can be used, runs differ in space or training settings, or two runs of one architecture
                and seed have different results.
        """
        target = self.target_path()
        if self.source is None:
            raise ConfigError("convert.source=null: no runs are given; give convert.source=multirun/SWEEP")
        folders = sorted({path.resolve().parent for path in summaries(self.source)})
        sets: dict[str, Trainings] = {}
        space_config: dict[str, Any] | None = None
        about: dict[str, Any] = {}
        for folder in track(folders, "runs"):
            summary = documents.read_json(folder / layout.SUMMARY)
            accuracy = (summary.get("evaluation") or {}).get("test_accuracy")
            if accuracy is None or not (folder / layout.NETWORK).exists():
                continue
            network = TrainedNetwork.load(folder)
            if space_config is None:
                space_config, space = network.space, _built(network.space)
                about = {"versions": summary.get("versions")}
            elif network.space != space_config:
                raise ConfigError(
                    f"convert.source={self.source}: {folder} has another space than the runs before it; give runs of"
                    " one space"
                )
            trainings = self._same_training(sets, network, folder, summary["evaluation"]["epochs"])
            number = number_of(space, Genotype.from_dict(network.genotype, f"{folder}/{layout.NETWORK}"))
            seeds = trainings.accuracies.setdefault(number, {})
            if seeds.setdefault(summary["seed"], accuracy) != accuracy:
                raise ConfigError(
                    f"convert.source={self.source}: architecture {number} was trained twice with seed"
                    f" {summary['seed']}, to {seeds[summary['seed']]:g} and {accuracy:g} %; leave out one of the two,"
                    f" for instance {folder}"
                )
        if space_config is None:
            raise ConfigError(
                f"convert.source={self.source}: has no finished run that trained a network; train some with python"
                " run.py -m experiment=s5_ground_truth"
            )
        return self._write(target, space, sets, about)

    def _same_training(
        self, sets: dict[str, Trainings], network: TrainedNetwork, folder: Path, epochs: int
    ) -> Trainings:
        """Return the trainings to which a run belongs; the first run on a data set begins them.

        Raises:
            ConfigError: Its training settings differ from those of the runs before it.
        """
        protocol = {
            key: value for key, value in read_config(folder).items() if key.split(".")[0] in ("evaluation", "data")
        }
        if network.init_channels is None or network.layers is None or network.stem is None:
            raise ConfigError(
                f"convert.source={self.source}: {folder} has networks whose sizes are those of their space; tables are"
                " of spaces with sizes, e.g. of runs with space=s5"
            )
        if network.data not in sets:
            sizes = (network.num_classes, network.in_channels, network.image_size)
            trained = Trained(network.data, (epochs,), *sizes, network.init_channels, network.layers, network.stem)
            sets[network.data] = Trainings(folder, trained, protocol)
        found = sets[network.data]
        keys = sorted(protocol.keys() | found.protocol.keys())
        other = next((key for key in keys if protocol.get(key) != found.protocol.get(key)), None)
        if other is not None:
            raise ConfigError(
                f"convert.source={self.source}: {other} is {found.protocol.get(other)} in {found.first} and"
                f" {protocol.get(other)} in {folder}; a table has one training per data set; give the runs of one"
            )
        return found

    def _write(self, target: Path, space: SearchSpace, sets: dict[str, Trainings], about: dict[str, Any]) -> Path:
        """Write the table, with its description above the column names."""
        numbers = sorted({number for trainings in sets.values() for number in trainings.accuracies})
        columns: dict[str, list[Any]] = {
            "number": numbers,
            "architecture": [architecture(space, number).architecture for number in numbers],
        }
        for name, trainings in sets.items():
            found = [trainings.accuracies.get(number, {}) for number in numbers]
            means = [round(statistics.fmean(seeds.values()), 4) if seeds else None for seeds in found]
            columns[trainings.column] = means
            for seed in trainings.seeds:
                columns[f"{trainings.column}_seed{seed}"] = [seeds.get(seed) for seeds in found]
            about[name] = self._describe(name, trainings, count(space))
        contents = {
            "space": space.name,
            "key": "architecture",
            "recipe": next(iter(sets.values())).protocol.get("evaluation.name", "digits"),
            "datasets": {
                name: asdict(trainings.trained) | {"epochs": list(trainings.trained.epochs)}
                for name, trainings in sets.items()
            },
            "about": about,
        }
        text = (header(contents) + pd.DataFrame(columns).to_csv(index=False)).encode()
        with replacing(target) as file:
            # Without a time stamp, equal tables are equal files.
            file.write(gzip.compress(text, mtime=0) if target.suffix == ".gz" else text)
        return target

    def _describe(self, name: str, trainings: Trainings, total: int) -> dict[str, Any]:
        """Describe a data set of the table: its training settings, and its spread over architectures and seeds."""
        complete = [
            list(map(seeds.__getitem__, trainings.seeds))
            for seeds in trainings.accuracies.values()
            if len(seeds) == len(trainings.seeds)
        ]
        incomplete = total - len(complete)
        if incomplete:
            log.warning(
                "convert.source=%s: %d of %d architectures of %s lack trainings with some of the seeds %s",
                *(self.source, incomplete, total, name, ", ".join(map(str, trainings.seeds))),
            )
        spread = reliability(np.array(complete)) if complete else None
        if spread is not None:
            log.info(
                "%s: standard deviation between architectures %.2f, between seeds %.2f; ranks correlate by %.2f between"
                " seeds, reliability of the mean %.2f",
                *(name, spread.between, spread.within, spread.rank_correlation, spread.of_the_mean),
            )
        return {
            "architectures": f"{len(complete)} of {total}",
            "seeds": trainings.seeds,
            "spread": None if spread is None else {key: round(value, 4) for key, value in asdict(spread).items()},
            "training": trainings.protocol,
        }


def _built(config: dict[str, Any]) -> SearchSpace:
    """Build the space of a network.json.

    Raises:
        ConfigError: Its section `space` is not valid.
    """
    problems = check_part("space", config)
    if problems:
        raise ConfigError(f"network.json: {'; '.join(problems)}")
    space: SearchSpace = target_of("space", config)(**{k: v for k, v in config.items() if not k.startswith("_")})
    return space
