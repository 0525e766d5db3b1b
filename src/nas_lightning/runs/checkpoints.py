"""Checkpoints of a run: their format, whose they are, and which of them a resume can start from."""

import io
import logging
import zipfile
from pathlib import Path
from typing import Any, Protocol

import torch

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError, DamagedCheckpointError
from nas_lightning.runs import layout
from nas_lightning.runs.files import copy_file, replacing, sync_folder

log = logging.getLogger(__name__)

FORMAT = 2
"""Of checkpoints: another number means that what they hold has changed."""


class Owner(Protocol):
    """The run folder that checkpoints belong to; its string form names it in messages."""

    key: str

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""

    def fingerprint(self) -> str | None:
        """Return what the checkpoints of this run carry."""


def write(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint in one step.

    Raises:
        OSError: It cannot be written; what was there is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()  # written straight to a file that is full, torch hides the reason
    torch.save(checkpoint, buffer)
    with replacing(path) as file:
        file.write(buffer.getbuffer())


def promote(folder: Path, copy: str | None = None) -> None:
    """Make `next.ckpt` the last checkpoint and the last one the previous one.

    Args:
        folder: Where they are.
        copy: Name of a copy to keep; None keeps none.
    """
    new, last = folder / layout.NEXT, folder / layout.LAST
    if copy is not None:
        # Before last.ckpt: a run that is killed in between repeats the epoch and writes this file again.
        copy_file(new, folder / copy)
    # A kill between the two leaves `previous.ckpt` alone, from which a resume continues as well.
    if last.exists():
        last.replace(folder / layout.PREVIOUS)
    new.replace(last)
    sync_folder(folder)


def read(owner: Owner, name: str) -> dict[str, Any] | None:
    """Read a checkpoint by its path below `checkpoints`; None where there is none.

    Raises:
        DamagedCheckpointError: The file is not whole, is no checkpoint, or is one of another run.
        ConfigError: Another version of nas_lightning wrote it.
    """
    path = owner.checkpoints / name
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as file:
            if (part := file.testzip()) is not None:  # torch does not look at the sums
                raise ValueError(f"{part} is not what was written")
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(saved, dict) or "state_dict" not in saved:
            raise ValueError("it holds no state")
    except Exception as error:  # torch raises errors of many kinds for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise DamagedCheckpointError(
            f"{owner.key}={owner}: checkpoints/{name} is damaged ({reason}); delete it, and resume={owner} trains"
            " that phase again"
        ) from error
    written = saved.get("nas_lightning", {"format": 1})
    if written["format"] != FORMAT:
        raise ConfigError(
            f"{owner.key}={owner}: checkpoints/{name} is of format {written['format']}, this version reads {FORMAT};"
            " go on with the version of nas-lightning that wrote it (summary.json names it), or start a new run"
        )
    if written["run"] != owner.fingerprint():
        raise DamagedCheckpointError(
            f"{owner.key}={owner}: checkpoints/{name} belongs to another run than config.yaml there; put that run's"
            f" own file there, or delete it, and resume={owner} trains that phase again"
        )
    return saved


def resumable(owner: Owner, phase: str = "") -> tuple[Path, dict[str, Any]] | None:
    """Find the newest sound checkpoint of a phase and its path; None where there is none at all.

    Args:
        owner: The run folder.
        phase: Its folder below `checkpoints`, none for the search.

    Raises:
        ConfigError: Those that are there are damaged, or another version wrote them.
    """
    damaged: list[DamagedCheckpointError] = []
    for name in (layout.LAST, layout.PREVIOUS):
        path = Path(phase) / name
        try:
            saved = read(owner, str(path))
        except DamagedCheckpointError as error:
            damaged.append(error)
            continue
        if saved is not None:
            if damaged:
                log.warning("%s; going on from %s, the state before it", str(damaged[0]).partition(";")[0], name)
                # Out of the way: it would become previous.ckpt, and a kill could leave nothing else.
                if ranks.is_first():
                    folder = owner.checkpoints / phase
                    (folder / layout.LAST).replace(folder / layout.DAMAGED)
            return owner.checkpoints / path, saved
    if len(damaged) > 1:
        raise DamagedCheckpointError(
            f"{str(damaged[0]).partition(';')[0]}; so is previous.ckpt, the state before it: delete both, or start"
            " a new run"
        )
    if damaged:
        raise damaged[0]
    return None
