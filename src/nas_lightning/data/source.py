"""Base class of all data sources: what they hold, and the batches that networks are measured by."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from nas_lightning.core.batches import Batch
from nas_lightning.core.space import Kind


class DataSource:
    """A source of data in a training and a test part.

    Constructors only keep their arguments. `prepare` reads (or fetches) the data and fills the attributes.

    Attributes:
        name: of the set, in tables and file names.
        kind: of its data, which spaces, objectives and evaluators must share.
        loader_keys: keys of the section `data` that the loaders of its data modules read.
        num_classes: labels are 0 .. num_classes - 1; 0 where labels are no classes.
        class_names: one a class.
        train_labels: what the objective is bound to: labels of the training part, in index order.
        missing: by constructor argument that is a path, the line of the DataError where nothing is there: `{path}` in
            it is the path, `{given}` what was given. The command line reads it from the source, before it imports
            anything, so it must be a literal.
    """

    missing: ClassVar[dict[str, str]] = {}
    kind: ClassVar[Kind] = "images"
    loader_keys: ClassVar[tuple[str, ...]] = ()

    name: str
    num_classes: int
    class_names: tuple[str, ...]
    train_labels: np.ndarray

    _prepared = False

    def prepare(self) -> None:
        """Read the data, once.

        Raises:
            DataError: They are missing or cannot be used.
        """
        if not self._prepared:
            self._load()
            self._prepared = True

    def _load(self) -> None:
        raise NotImplementedError

    def found(self) -> str:
        """Return one line about the data: how much there is, and what was left out."""
        raise NotImplementedError

    def sizes(self) -> tuple[int, ...]:
        """Return the sizes that the time of a step depends on, besides those of networks and batches."""
        raise NotImplementedError

    def fill(self) -> dict[str, Any]:
        """Return the values of the data for arguments of regularizers that a configuration leaves open."""
        return {}

    def example(self, batch_size: int, device: torch.device | str = "cpu") -> Batch:
        """Return inputs and targets of the shapes of a training batch, with arbitrary content."""
        raise NotImplementedError

    def fingerprint(self) -> dict[str, Any]:
        """Return a fingerprint of prepared data, as JSON can hold it.

        Raises:
            DataError: Some of them cannot be read.
        """
        raise NotImplementedError

    def difference(self, kept: Mapping[str, Any], found: Mapping[str, Any]) -> str:
        """Return in which way data differ from those of a kept fingerprint; "" if they are the same."""
        return "" if all(kept[key] == found[key] for key in kept if key in found) else "another content"
