"""Checkpoints of a run: format, owner, rotation, and the newest sound one, from which a run resumes."""

import io
import logging
import zipfile
from pathlib import Path
from typing import Any, Protocol

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError, DamagedCheckpointError
from nas_lightning.runs import layout
from nas_lightning.runs.files import copy_file, replacing, sync_folder

log = logging.getLogger(__name__)

FORMAT = 2
"""Version of the checkpoint format; it grows when the content changes."""


class Owner(Protocol):
    """Run folder that checkpoints belong to; `key=str(owner)` names it in messages."""

    key: str

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""

    def command(self, *overrides: str) -> str:
        """Return the words that resume the run."""

    def fingerprint(self) -> str | None:
        """Return the hash that every checkpoint of this run carries; None without a configuration."""


def write(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint in one step.

    Raises:
        OSError: It cannot be written; the old file is untouched.
    """
    import torch  # here and below: what names a folder without a run must not wait for torch

    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()  # torch.save into a file on a full disk hides the errno that `reporting_failures` needs
    torch.save(checkpoint, buffer)
    with replacing(path) as file:
        file.write(buffer.getbuffer())


def promote(folder: Path, copy: str | None = None) -> None:
    """Rename `last.ckpt` to `previous.ckpt`, then `next.ckpt` to `last.ckpt`.

    Args:
        folder: Folder of the checkpoints of one phase.
        copy: Name under which a copy of the new checkpoint is kept; None keeps none.
    """
    new, last = folder / layout.NEXT, folder / layout.LAST
    if copy is not None:
        # Before last.ckpt: a run that is killed in between repeats the epoch and writes this file again.
        copy_file(new, folder / copy)
    # A kill between the two renames leaves only `previous.ckpt`, from which `resumable` continues as well.
    if last.exists():
        last.replace(folder / layout.PREVIOUS)
    new.replace(last)
    sync_folder(folder)


def read(owner: Owner, name: str) -> dict[str, Any] | None:
    """Read and verify the checkpoint `name`, a path below `checkpoints`; return None if there is no such file.

    Raises:
        DamagedCheckpointError: The file is incomplete, is no checkpoint, or belongs to another run.
        ConfigError: Another version of nas_lightning wrote it.
    """
    path = owner.checkpoints / name
    if not path.exists():
        return None
    import torch

    try:
        with zipfile.ZipFile(path) as file:
            if (part := file.testzip()) is not None:  # torch does not verify checksums
                raise ValueError(f"{part} has a wrong checksum")
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(saved, dict) or "state_dict" not in saved:
            raise ValueError("no state_dict in it")
    except Exception as error:  # torch raises many kinds of errors for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise DamagedCheckpointError(
            f"{owner.key}={owner}: checkpoints/{name} is damaged ({reason}); delete it, and {owner.command()} trains"
            " that phase again"
        ) from error
    written = saved.get("nas_lightning", {"format": 1})
    if written["format"] != FORMAT:
        raise ConfigError(
            f"{owner.key}={owner}: checkpoints/{name} is of format {written['format']}, this version reads {FORMAT};"
            " resume with the version of nas-lightning that wrote it (summary.json names it), or start a new run"
        )
    if written["run"] != owner.fingerprint():
        raise DamagedCheckpointError(
            f"{owner.key}={owner}: checkpoints/{name} and config.yaml belong to different runs; restore this run's"
            f" own file, or delete it, and {owner.command()} trains that phase again"
        )
    return saved


def resumable(owner: Owner, phase: str = "") -> tuple[Path, dict[str, Any]] | None:
    """Return the path and the content of the newest sound checkpoint of a phase; None if the phase has none.

    Args:
        owner: The run folder.
        phase: Folder below `checkpoints`; empty for the search.

    Raises:
        ConfigError: Every checkpoint there is damaged, or another version wrote it.
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
                log.warning("%s; resuming from %s, the checkpoint before it", str(damaged[0]).partition(";")[0], name)
                # Moved away: `promote` would make it previous.ckpt, and a kill could leave no sound checkpoint.
                if ranks.is_first():
                    folder = owner.checkpoints / phase
                    (folder / layout.LAST).replace(folder / layout.DAMAGED)
            return owner.checkpoints / path, saved
    if len(damaged) > 1:
        raise DamagedCheckpointError(
            f"{str(damaged[0]).partition(';')[0]}; so is previous.ckpt, the checkpoint before it: delete both, or start"
            " a new run"
        )
    if damaged:
        raise damaged[0]
    return None
