"""pool.jsonl: what has happened in a search over a pool, an event a line, in order; a `Journal` is its one owner.

A line is appended and synced before the search goes on, so whatever ends the process, the file holds what has happened
up to then. A search that is resumed runs through the same steps again, and takes each result from the journal that
stands there.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs import history
from nas_lightning.runs.files import whole_lines, write_text

Event = dict[str, Any]


class Journal:
    """The events of a search over a pool: those of before are taken in their order, then new ones are added.

    Of several processes each reads and rank 0 alone writes; all hold the same events.

    Args:
        path: The file, which the first event makes.
        shown: The run folder and the words that resume it, for messages.

    Raises:
        ConfigError: A line of the file is damaged.
    """

    def __init__(self, path: Path, shown: tuple[str, str]) -> None:
        self.path = path
        self._shown = shown
        # Before a process group exists nothing can be sent: each process reads the file. Where one exists, all hold
        # what rank 0 has read, or a later reader could find an event that rank 0 has added meanwhile.
        self._events: list[Event] = ranks.agreed(self._read())
        self._taken = 0

    @property
    def at_end(self) -> bool:
        """True once all events of before are taken: what follows is new."""
        return self._taken == len(self._events)

    def comes_next(self, **key: Any) -> bool:
        """Return whether the next event of before has these values."""
        return not self.at_end and all(self._events[self._taken].get(name) == value for name, value in key.items())

    def take(self, **key: Any) -> Event | None:
        """Return the next event, which must have these values; None where what follows is new.

        Raises:
            ConfigError: It is another event: the file is that of another search.
        """
        if self.at_end:
            return None
        if not self.comes_next(**key):
            raise self._unexpected(key)
        self._taken += 1
        return self._events[self._taken - 1]

    def add(self, event: Mapping[str, Any]) -> Event:
        """Append a new event and return it as it is read again.

        Raises:
            ConfigError: Events of before follow: the file is that of another search.
        """
        if not self.at_end:
            raise self._unexpected({name: value for name, value in event.items() if name != "genotypes"})
        new: Event = json.loads(json.dumps(event))
        self._events.append(new)
        self._taken += 1
        if ranks.is_first():
            history.append_row(self.path, new)
        return new

    def _read(self) -> list[Event]:
        """Read all whole lines; a part of a line, which a kill can leave, is removed: nothing may be appended to it."""
        if not self.path.exists():
            return []
        lines = whole_lines(self.path)
        if ranks.is_first() and sum(len(line.encode()) for line in lines) != self.path.stat().st_size:
            write_text(self.path, "".join(lines))
        try:
            return history.read(self.path)
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def _unexpected(self, key: Mapping[str, Any]) -> ConfigError:
        words = " ".join(map(str, key.values()))
        return self._damaged(f"line {self._taken + 1} is not the event that follows here: {words}")

    def _damaged(self, reason: str) -> ConfigError:
        folder, command = self._shown
        return ConfigError(
            f"resume={folder}: {self.path.name} there is damaged ({reason}); delete it and the folder candidates, and"
            f" {command} starts the search anew"
        )
