"""The contract of the data modules of a search, whatever the kind of their data."""

from typing import Any, Protocol, runtime_checkable

from nas_lightning.core.batches import Batch
from nas_lightning.core.split_lists import ListedImage


@runtime_checkable
class SearchStreams(Protocol):
    """The data of a search: two streams to train on, `train` and `arch`, and `val` to validate on.

    It is a LightningDataModule as well. A training batch is `{"train": batch, "arch": batch}`. Its loaders are pure
    functions of the pass number, so that a resume has nothing to restore.

    Attributes:
        first_pass: Passes made before this fit: a later stage of a search continues from them.
        arch_stream: Whether an arch stream is read; False where weights and architecture share the train stream.
        expected_processes: Number of processes where no trainer is attached: that of the run whose data are checked.
    """

    first_pass: int
    arch_stream: bool
    expected_processes: int

    @property
    def val_is_augmented(self) -> bool:
        """Whether `val` is altered as the training data are, also by regularizers."""
        ...

    def setup(self, stage: str) -> None:
        """Split the data and make the streams; raises ConfigError where that is not possible."""
        ...

    def chosen(self) -> list[ListedImage]:
        """Return the images of drawn or listed subsets, which the run folder keeps; none where all data are used."""
        ...

    def train_dataloader(self) -> dict[str, Any]:
        """Return both streams, with equally many batches."""
        ...

    def val_dataloader(self) -> Any:
        """Return the val part in its order."""
        ...

    def selection_dataloader(self, batch_size: int | None = None, shuffle: str | None = None) -> Any:
        """Return the val part as selectors measure on it, in batches of a size and, if asked, in another order."""
        ...

    def fixed_arch_batch(self) -> Batch:
        """Return one batch of the arch part, the same at every call for a given seed."""
        ...
