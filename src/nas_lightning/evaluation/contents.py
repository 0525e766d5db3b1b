"""The description of a table of accuracies: what it lists, and how the networks in it were trained.

It precedes the column names of a table, as YAML in lines that begin with `#`; see `nas_lightning.evaluation.table`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from nas_lightning.core.genotypes import Genotype


@dataclass(frozen=True)
class Trained:
    """The trained networks of a table on one data set.

    Args:
        column: Prefix of the names of its columns.
        epochs: Epochs of each training in the table, the default first.
        num_classes: Classes of the images.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels.
        init_channels: Channels of the first cells.
        layers: Number of cells, as the space counts them.
        stem: `cifar` or `imagenet`.
        images: Images of an epoch of training, by the part whose accuracies were measured after it, `test` or `valid`;
            a part is missing where that is not known. This is what an entry of the table would cost.
    """

    column: str
    epochs: tuple[int, ...]
    num_classes: int
    in_channels: int
    image_size: int
    init_channels: int
    layers: int
    stem: str = "cifar"
    images: Mapping[str, int] = field(default_factory=dict)

    def name(self, part: str, epochs: int) -> str:
        """Return the name of the column of a part, `test` or `valid`."""
        return f"{self.column}_{part}_{epochs}"


def _nasbench201(column: str, num_classes: int, image_size: int, valid: int, test: int) -> Trained:
    images = {"valid": valid, "test": test}
    return Trained(column, (200, 12), num_classes, 3, image_size, init_channels=16, layers=5, images=images)


@dataclass(frozen=True)
class Contents:
    """The description of a table; by default that of NAS-Bench-201.

    Args:
        datasets: The trained networks, by the name of the data in the group `data`.
        key: Column that names the architectures.
        space: Name of the search space, or of several that look this table up; None if the key implies it.
        recipe: Name of the evaluator that trained the networks.
        about: Further information, such as the training, the seeds and the spread; it is not read.
        numbered: Whether the rows are all architectures in the benchmark's own order, so that the key may be missing.
        complete: Whether all architectures of the space are listed; otherwise one that is not has no accuracy.
        lowest_errors: By space and column, the error in percent that publications count their regret from.
    """

    datasets: Mapping[str, Trained] = field(
        default_factory=lambda: {
            # Section 2.2 of the paper: on CIFAR-10 accuracies on `valid` are of trainings on half of the images.
            "cifar10": _nasbench201("cifar10", 10, 32, valid=25_000, test=50_000),
            "cifar100": _nasbench201("cifar100", 100, 32, valid=50_000, test=50_000),
            "imagenet16_120": _nasbench201("in16_120", 120, 16, valid=151_700, test=151_700),
        }
    )
    key: str = "arch_str"
    space: str | tuple[str, ...] | None = None
    recipe: str = "nasbench201"
    about: Mapping[str, Any] = field(default_factory=dict)
    numbered: bool = False
    complete: bool = True
    lowest_errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names of the spaces; empty if the key implies them."""
        return (self.space,) if isinstance(self.space, str) else self.space or ()


_IMAGES101 = {"valid": 40_000, "test": 40_000}  # Ying et al. (ICML 2019), section 2.4: 10,000 are held out
NASBENCH101 = Contents(
    datasets={
        "cifar10": Trained("cifar10", (108, 36, 12, 4), 10, 3, 32, init_channels=128, layers=3, images=_IMAGES101)
    },
    key="module_hash",
    recipe="nasbench101",
    complete=False,
)
"""The description of a table of NAS-Bench-101 that has none: its rows may be any of the modules."""


def name_of(genotype: Genotype, key: str) -> str | None:
    """Return the name of a genotype in a table with that key; None if it has none."""
    name = genotype.architecture if key == "architecture" else genotype.to_dict().get(key)
    return name if isinstance(name, str) else None


def header(contents: Mapping[str, Any]) -> str:
    """Format the lines above the column names from the fields of `Contents`."""
    text = yaml.safe_dump(dict(contents), sort_keys=False, allow_unicode=True, width=110)
    return "".join(f"# {line}\n" for line in text.splitlines())
