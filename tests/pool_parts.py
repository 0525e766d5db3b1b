"""Parts of searches over a pool, among them a proposer that ends its own process, and what such a search leaves."""

import csv
import json
import os
import signal
import time
from pathlib import Path

from lightning.pytorch.loggers import Logger

from nas_lightning.core.draws import seeded_generator
from nas_lightning.core.errors import NonFiniteError
from nas_lightning.core.proposer import Proposer
from nas_lightning.core.proxy import Proxy


class Drawn(Proposer):
    """Draws genotype after genotype, leaving out those that are known.

    Args:
        most: Number of draws, after which the space counts as exhausted.
    """

    def __init__(self, most: int = 1000) -> None:
        self.most = most

    def ask(self, space, history, k, seed):
        known = [one.genotype for one in history]
        found = []
        for index in range(len(known), self.most):
            if len(found) == k:
                break
            one = space.genotype_of(space.sample(seeded_generator(seed, "random genotype", index), none=False))
            if one not in known and one not in found:
                found.append(one)
        return found


class Killing(Drawn):
    """Kills its process as `kill -9` does, once: when the pool has a size and a file is not there yet.

    Args:
        size: Members of the pool.
        file: The file.
    """

    def __init__(self, size: int, file: str) -> None:
        super().__init__()
        self.size, self.file = size, Path(file)

    def ask(self, space, history, k, seed):
        if len(history) == self.size and not self.file.exists():
            self.file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().ask(space, history, k, seed)


class Slow(Proxy):
    """Scores all networks alike, in a time that can be measured.

    Args:
        seconds: Seconds a network.
    """

    def __init__(self, seconds: float = 0.02) -> None:
        self.seconds = seconds

    def __call__(self, network, sample):
        time.sleep(self.seconds)
        return 0.0


class Noted(Logger):
    """Notes run folder, row and step of all that is logged.

    Args:
        run: Folder and names of the run.
    """

    rows: list = []  # noqa: RUF012 - of the test that sets it

    def __init__(self, run=None) -> None:
        super().__init__()
        self.run = run

    name, version, experiment = "noted", "0", None

    def log_row(self, row, step):
        self.rows.append((self.run.path, row, step))

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def pool_of(folder):
    """All that a search over a pool leaves, without times and memory."""
    summary = json.loads((folder / "summary.json").read_text())
    summary["search"].pop("seconds")
    summary.pop("git_commit")  # of the checkout, where one may work meanwhile
    for measured in ("seconds", "images_per_second", "peak_memory_mib"):
        summary["evaluation"].pop(measured)
    events = [json.loads(line) for line in (folder / "pool.jsonl").read_text().splitlines()]
    with (folder / "generations.csv").open() as file:
        rows = list(csv.DictReader(file))
    for timed in (*rows, *events, *summary["candidates"]):
        timed.pop("seconds", None)
        timed.pop("took", None)
    return {"summary": summary, "events": events, "rows": rows, "genotype": (folder / "genotype.json").read_text()}


def undo(folder):
    """As the run was before its search ended."""
    summary = json.loads((folder / "summary.json").read_text())
    undone = dict.fromkeys(("search", "selection", "candidates", "evaluation", "genotype"))
    (folder / "summary.json").write_text(json.dumps({**summary, **undone}))
    (folder / "genotype.json").unlink()


def failing(member, genotype, epochs):
    """Train nothing: every third candidate has a loss that is not finite, every third an accuracy that is none."""
    index = int(member.folder.path.name)
    if index % 3 == 0:
        raise NonFiniteError("the train loss is nan in epoch 0; try again")
    return {"val_accuracy": float("nan") if index % 3 == 1 else float(index), "seconds": 1.0}
