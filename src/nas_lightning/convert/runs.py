"""Converter of one's own runs to a table that evaluation=tabular reads: the ground truth of a small space.

Source: the regret of RobustDARTS (Zela et al., ICLR 2020, section 4), which needs every architecture of S5 trained.
"""

import gzip
import json
import logging
import statistics
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from nas_lightning.config.parts import check_part, target_of
from nas_lightning.convert.base import Converter, Track
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.objective import ACCURACY
from nas_lightning.core.one_shot import untracked
from nas_lightning.core.space import SearchSpace
from nas_lightning.deployment.description import TrainedNetwork
from nas_lightning.evaluation.contents import Trained, header
from nas_lightning.evaluation.reliability import reliability
from nas_lightning.reports.runs import read_config, summaries
from nas_lightning.runs import documents, layout, tables
from nas_lightning.runs.files import replacing
from nas_lightning.spaces.enumeration import architecture, count, number_of

log = logging.getLogger(__name__)


@dataclass
class Trainings:
    """All trainings on one data set that were measured on one part of its images.

    Args:
        part: `test`, or `valid` where runs trained on the train half and were measured on val.
        first: Folder of the run with which the others are compared.
        trained: Sizes of its network and images, and the epochs of the columns, those of the whole training first.
        protocol: The keys `evaluation.*` and `data.*` of its configuration.
        accuracies: Accuracies in percent, by the number of the architecture, the seed, and the epochs.
    """

    part: str
    first: Path
    trained: Trained
    protocol: dict[str, str]
    accuracies: dict[int, dict[int, dict[int, float]]] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """Return all seeds that occur, ascending."""
        return sorted({seed for found in self.accuracies.values() for seed in found})

    def columns(self, numbers: list[int]) -> dict[str, list[float | None]]:
        """Return the columns of the table: for each length the means and the accuracy of each seed.

        Args:
            numbers: Architectures of the rows.
        """
        columns: dict[str, list[float | None]] = {}
        for epochs in self.trained.epochs:
            name = self.trained.name(self.part, epochs)
            found = [
                {seed: known[epochs] for seed, known in self.accuracies.get(number, {}).items()} for number in numbers
            ]
            columns[name] = [round(statistics.fmean(seeds.values()), 4) if seeds else None for seeds in found]
            columns |= {f"{name}_seed{seed}": [seeds.get(seed) for seeds in found] for seed in self.seeds}
        return columns


Sets = dict[str, dict[str, Trainings]]
"""Trainings by the name of the data and the part that they were measured on."""


class Runs(Converter):
    """Writes one row per architecture, in the order of the space, with the mean accuracy and that of each seed.

    Only finished runs count that trained a network: on all training images and measured on test, or on the train half
    and measured on val (`evaluation.images=search_halves`), whose accuracies are what a search may see. On one data
    set, all must share their other training settings.

    Args:
        source: Run folders, or a folder or a glob that finds some.
        target: The `.csv` or `.csv.gz` file to write.
        overwrite: Whether to replace an existing target.
        epochs: Epochs after which the table keeps accuracies besides the last, from `metrics.csv`: the beginnings of
            the same training, as a pool that pauses at levels sees them; None keeps the last alone.
    """

    ending = (".csv", ".csv.gz")

    def __init__(
        self,
        source: str | None = None,
        target: str | None = None,
        overwrite: bool = False,
        epochs: list[Annotated[int, Field(ge=1)]] | None = None,
    ) -> None:
        super().__init__(source, target, overwrite)
        self.epochs = epochs or []

    def __call__(self, track: Track = untracked) -> Path:
        """Convert the source to the target; see `Converter`.

        Raises:
            ConfigError: No run can be used, runs differ in space or training settings, two runs of one architecture
                and seed have different results, or a run was not measured after one of the epochs.
        """
        target = self.target_path()
        if self.source is None:
            raise ConfigError("convert.source=null: no runs are given; give convert.source=multirun/SWEEP")
        folders = sorted({path.resolve().parent for path in summaries(self.source)})
        sets: Sets = {}
        space_config: dict[str, Any] | None = None
        about: dict[str, Any] = {}
        for folder in track(folders, "runs"):
            summary = documents.read_json(folder / layout.SUMMARY)
            part, accuracy = _measured(summary)
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
            trainings = self._same_training(sets, network, folder, summary["evaluation"], part)
            number = number_of(space, Genotype.from_dict(network.genotype, f"{folder}/{layout.NETWORK}"))
            seeds = trainings.accuracies.setdefault(number, {})
            known = self._curve(folder, trainings) | {trainings.trained.epochs[0]: accuracy}
            if seeds.setdefault(summary["seed"], known) != known:
                before = seeds[summary["seed"]]
                epochs = next(epochs for epochs in known if known[epochs] != before[epochs])
                raise ConfigError(
                    f"convert.source={self.source}: architecture {number} was trained twice with seed"
                    f" {summary['seed']}, to {before[epochs]:g} and {known[epochs]:g} %; leave out one of the two,"
                    f" for instance {folder}"
                )
        self._check_tested(sets)
        return self._write(target, space, sets, about)

    def _check_tested(self, sets: Sets) -> None:
        """Refuse runs without any, or with none on a data set, that was measured on test: it judges what is found.

        Raises:
            ConfigError: There is none.
        """
        if not any("test" in parts for parts in sets.values()):
            raise ConfigError(
                f"convert.source={self.source}: has no finished run that trained a network and measured it on test;"
                " train some with python run.py -m experiment=s5_ground_truth"
            )
        for data, parts in sets.items():
            if "test" not in parts:
                raise ConfigError(
                    f"convert.source={self.source}: all runs on data={data} were measured on val, for instance"
                    f" {parts['valid'].first}; train some with evaluation.images=full, or leave these out"
                )

    def _curve(self, folder: Path, trainings: Trainings) -> dict[int, float]:
        """Return the accuracies in percent after the epochs that the table keeps besides the last.

        Raises:
            ConfigError: The run was not measured after one of them.
        """
        if len(trainings.trained.epochs) == 1:
            return {}
        column = "test_accuracy" if trainings.part == "test" else "val_accuracy"
        rows = tables.read_if_there(folder / layout.METRICS)
        known = {
            int(row["epoch"]) + 1: ACCURACY.rounded(float(row[column]))
            for row in rows
            if row["phase"] == "evaluation" and row.get(column)
        }
        for epochs in trainings.trained.epochs[1:]:
            if epochs not in known:
                measured = ",".join(map(str, sorted(known)))
                raise ConfigError(
                    f"convert.epochs={json.dumps(self.epochs)}: {folder} has no accuracy on {trainings.part} after"
                    f" {epochs} epochs in {layout.METRICS}, only after {measured or 'none'}; choose among these"
                )
        return {epochs: known[epochs] for epochs in trainings.trained.epochs[1:]}

    def _same_training(
        self, sets: Sets, network: TrainedNetwork, folder: Path, evaluation: dict[str, Any], part: str
    ) -> Trainings:
        """Return the trainings to which a run belongs; the first run on a data set and part begins them.

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
        parts, epochs = sets.setdefault(network.data, {}), evaluation["epochs"]
        if part not in parts:
            later = next((one for one in self.epochs if one > epochs), None)
            if later is not None:
                raise ConfigError(
                    f"convert.epochs={json.dumps(self.epochs)}: {folder} was trained for {epochs} epochs, not for"
                    f" {later}; use values up to {epochs}"
                )
            kept = (epochs, *sorted({*self.epochs} - {epochs}))
            sizes = (network.num_classes, network.in_channels, network.image_size)
            trained = Trained(network.data, kept, *sizes, network.init_channels, network.layers, network.stem)
            parts[part] = Trainings(part, folder, trained, protocol)
        for found in parts.values():
            # What a search may see comes from another training than what judges it: on half of the images.
            apart = {"evaluation.images"} if found.part != part else set()
            keys = sorted((protocol.keys() | found.protocol.keys()) - apart)
            other = next((key for key in keys if protocol.get(key) != found.protocol.get(key)), None)
            if other is not None:
                raise ConfigError(
                    f"convert.source={self.source}: {other} is {found.protocol.get(other)} in {found.first} and"
                    f" {protocol.get(other)} in {folder}; a table has one training per data set; give the runs of one"
                )
        found = parts[part]
        if evaluation.get("images") and not found.trained.images:  # runs of before did not count them
            images = {part: evaluation["images"] // epochs}
            parts[part] = found = replace(found, trained=replace(found.trained, images=images))
        return found

    def _write(self, target: Path, space: SearchSpace, sets: Sets, about: dict[str, Any]) -> Path:
        """Write the table, with its description above the column names."""
        ordered = [parts[part] for parts in sets.values() for part in ("test", "valid") if part in parts]
        numbers = sorted({number for trainings in ordered for number in trainings.accuracies})
        columns: dict[str, list[Any]] = {
            "number": numbers,
            "architecture": [architecture(space, number).architecture for number in numbers],
        }
        for trainings in ordered:
            columns |= trainings.columns(numbers)
            name = trainings.trained.column
            key = name if trainings.part == "test" else f"{name} on val"
            about[key] = self._describe(key, trainings, count(space))
        datasets = {}
        for name, parts in sets.items():
            images = {part: found for one in parts.values() for part, found in one.trained.images.items()}
            trained = asdict(parts["test"].trained)
            datasets[name] = trained | {"epochs": list(trained["epochs"]), "images": images}
        contents = {
            "space": space.name,
            "key": "architecture",
            "recipe": ordered[0].protocol.get("evaluation.name", "digits"),
            "datasets": datasets,
            **({} if len(numbers) == count(space) else {"complete": False}),
            "about": about,
        }
        text = (header(contents) + pd.DataFrame(columns).to_csv(index=False)).encode()
        with replacing(target) as file:
            # Without a time stamp, equal tables are equal files.
            file.write(gzip.compress(text, mtime=0) if target.suffix == ".gz" else text)
        return target

    def _describe(self, name: str, trainings: Trainings, total: int) -> dict[str, Any]:
        """Describe a data set of the table: its training settings, and its spread over architectures and seeds."""
        last = trainings.trained.epochs[0]
        complete = [
            [seeds[seed][last] for seed in trainings.seeds]
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


def _measured(summary: dict[str, Any]) -> tuple[str, float | None]:
    """Return the part that a run was measured on, and its accuracy in percent; None where it is not finished."""
    evaluation = summary.get("evaluation") or {}
    tested = evaluation.get("test_accuracy")
    return ("test", tested) if tested is not None else ("valid", evaluation.get("val_accuracy"))


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
