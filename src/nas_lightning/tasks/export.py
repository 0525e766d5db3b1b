"""`task=export`: write the trained network of a run as files that other programs load."""

from typing import Any

from rich.markup import escape

from nas_lightning.analyses.base import show_table
from nas_lightning.config.schema import RootConfig
from nas_lightning.core.errors import ConfigError
from nas_lightning.deployment import TrainedNetwork, write_export
from nas_lightning.deployment.onnx_files import INSTALL_ONNX, onnx_is_wanted
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.one_shot import print_line
from nas_lightning.tasks.trained import refuse_run, trained_network


def run_export(config: RootConfig, folder: RunFolder) -> dict[str, Any]:
    """Export the trained network of the run that `run` names to a new folder; return the content of export.json.

    The other run is only read.

    Raises:
        ConfigError: The run has no trained network, ONNX cannot be written, or the folder holds a run.
        NasLightningError: An exported file gives other outputs than the network.
    """
    wanted = None if config.export is None else config.export.onnx
    onnx = onnx_is_wanted(wanted)
    refuse_run(folder)
    trained, network, about = trained_network(config)
    try:
        made = write_export(trained, network, folder.path, onnx, about, config.trusted)
    except OSError as error:
        raise ConfigError(f"hydra.run.dir={folder}: cannot be written ({error.strerror})") from error
    differences = made["largest_difference"]
    show_table(
        "exported, compared with the trained network",
        ("file", "largest difference"),
        [(name, f"{difference:.1e}") for name, difference in differences.items()],
    )
    for line in _notes(trained, onnx, wanted, folder):
        print_line(escape(line))
    return made


def _notes(trained: TrainedNetwork, onnx: bool, wanted: bool | None, folder: RunFolder) -> list[str]:
    """Return lines about the files that are missing, and about the scripts."""
    lines = []
    if not onnx and wanted is None:
        lines = [f"export.onnx=null: no network.onnx and no predict.py, their packages are missing; {INSTALL_ONNX}"]
    if onnx and trained.preprocessing is None:
        lines = ["no predict.py: the transforms of your own data module are not known here"]
    lines.append(f"written: {folder} (python {folder}/load.py shows how to load it in PyTorch)")
    if onnx and trained.preprocessing is not None:
        lines.append(f"label photos without PyTorch: python {folder}/predict.py PHOTO (onnxruntime, numpy, pillow)")
    return lines
