"""Find the supernet of another run for `task=select`."""

from typing import Any

from nas_lightning.core.errors import ConfigError
from nas_lightning.runs import layout
from nas_lightning.runs.folder import RunFolder
from nas_lightning.training.workbench import Workbench


def origin_checkpoint(bench: Workbench) -> dict[str, Any]:
    """Return the checkpoint of another run that `task=select` takes its supernet from.

    Raises:
        ConfigError: The search of that run is not finished and no epoch is named, or it keeps no such epoch.
    """
    folder, epoch = RunFolder(bench.config.run or "", "run"), bench.config.epoch
    kept = sorted(number for number, _ in layout.epoch_checkpoints(folder.checkpoints))
    last = folder.checkpoint(layout.LAST)
    if epoch is None and folder.summary()["search"] is None:
        at = 0 if last is None else last["search"]["search_epoch"]
        # A search of all its epochs has no result where its selector found none: another selector may.
        if last is not None and not _in_epoch(last) and at >= bench.config.search.epochs:
            return last
        ready = [f", or take the supernet as it is, epoch={at}"] if last is not None and not _in_epoch(last) else []
        raise ConfigError(
            f"run={folder}: its search has finished only {at} epochs; continue with {folder.command()}{''.join(ready)}"
        )
    # Of a run that went on to the stage of a selector, last.ckpt holds the tuned supernet, not that of the search.
    searched = last is not None and last["search"].get("phase", "search") == "search" and not _in_epoch(last)
    if last is not None and searched and epoch in (None, last["search"]["search_epoch"]):
        return last
    if epoch is None and kept:
        epoch = kept[-1]
    saved = folder.checkpoint(layout.epoch_name(epoch))
    if saved is None:
        there = [*kept, *([last["search"]["search_epoch"]] if last is not None and searched else [])]
        raise ConfigError(
            f"epoch={'null' if epoch is None else epoch}: {folder} keeps no supernet of that search epoch; allowed:"
            f" {', '.join(map(str, sorted(set(there)))) or 'none'}; a search keeps more with search.snapshots=10"
        )
    return saved


def _in_epoch(saved: dict[str, Any]) -> bool:
    """Return whether a state was saved between two batches: it is then the supernet of no epoch's end."""
    return bool(saved["search"]["running"])
