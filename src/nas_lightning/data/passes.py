"""Base of data modules whose loaders are functions of the pass number."""

from lightning.pytorch import LightningDataModule

from nas_lightning.core.split_lists import ListedImage
from nas_lightning.data.source import DataSource


class PassModule(LightningDataModule):
    """Data module that knows which pass through its data comes next, and how many processes share it.

    Attributes:
        data: Where the data come from.
    """

    data: DataSource
    expected_processes = 1
    """Number of processes where no trainer is attached: that of the run whose data are checked."""
    arch_stream = True
    """Whether a search has a stream `arch`; False where the architecture learns from that of the weights."""
    first_pass = 0
    """Passes made before this fit: a later stage of a search continues from them."""

    @property
    def pass_number(self) -> int:
        """Passes made through the training data before; `first_pass` without a trainer."""
        return self.first_pass + (self.trainer.current_epoch if self.trainer else 0)

    @property
    def processes(self) -> int:
        """Number of processes that share each pass."""
        return self.trainer.world_size if self.trainer else self.expected_processes

    def chosen(self) -> list[ListedImage]:
        """Return the images of a search that learns from drawn or listed subsets only; none where it uses all data."""
        return []

    def prepare_data(self) -> None:
        """Fetch and read the data, in one process."""
        self.data.prepare()

    @property
    def _on_cuda(self) -> bool:
        strategy = getattr(self.trainer, "strategy", None)
        return strategy is not None and strategy.root_device.type == "cuda"
