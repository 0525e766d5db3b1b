"""Runs of seconds whose decisions, stages and selection are looked into, and the callbacks that look."""

import csv
import json
from contextlib import ExitStack, contextmanager
from unittest import mock

import lightning as L
import pytest
import torch

import nas_lightning as nl
from nas_lightning import reports
from nas_lightning.config.compose import as_dict
from nas_lightning.perturbations import Random
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches import run as searching
from nas_lightning.tasks.resume import resume
from nas_lightning.tasks.run import run_task

SIZES = [
    "task=search",
    "space=s3",
    "space.num_nodes=2",  # rows 0, 1 into node 2 and rows 2, 3, 4 into node 3, which keeps two of them
    "search.batch_size=8",
    "search.init_channels=2",
    "search.layers=3",
    "search.arch.lr=0.1",  # so that rows differ after a few steps
    "trainer=cpu",
    "~callbacks.curvature",
    "trusted=[staged_parts,lightning_parts]",
    "+callbacks.crash._target_=staged_parts.Crash",
    "+callbacks.look._target_=staged_parts.Look",
]


def overrides_of(images_file):
    """Of a search of 20 training images with two nodes a cell; it may be made to crash and is looked at."""
    return ["data=arrays", f"data.path={images_file}", *SIZES]


class Crash(L.Callback):
    """Raises in the middle of an epoch, or before its first batch, once it is armed."""

    at: tuple[str, int, int] | None = None
    """(phase, search epoch, batch)."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if Crash.at == (pl_module.phase, pl_module.search_epoch, batch_idx):
            Crash.at = None
            raise RuntimeError("the machine died")


class Look(L.Callback):
    """Notes what every epoch sees: (search epoch, phase, …)."""

    sizes: list = []  # noqa: RUF012 - shared on purpose
    starts: dict = {}  # noqa: RUF012

    def on_train_epoch_start(self, trainer, pl_module):
        weights, arch = (optimizer.state_dict()["state"] for optimizer in trainer.optimizers)
        state = {"module": pl_module.state_dict(), "arch": pl_module.arch, "sgd": weights, "adam": arch}
        state = torch.utils._pytree.tree_map(lambda x: x.detach().clone() if isinstance(x, torch.Tensor) else x, state)
        state["decisions"], state["steps"] = pl_module.decisions.state_dict(), pl_module.num_steps
        Look.starts[pl_module.search_epoch] = state

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        Look.sizes.append((pl_module.search_epoch, len(batch["train"][0]), len(batch["arch"][0])))


def forget():
    """Begin a new run: nothing crashes and nothing was seen."""
    Crash.at, Look.sizes, Look.starts, NotedRadius.seen = None, [], {}, {}


def run(overrides, folder):
    """A run from its overrides; returns the summary."""
    return run_config(as_dict(nl.compose(overrides)), folder)


def run_config(config, folder):
    """A run from its whole configuration; returns the summary."""
    with undrawn():
        return run_task(config, RunFolder(folder))


@contextmanager
def undrawn():
    """Plots take longer than the runs themselves, and are looked at elsewhere."""
    plots = [(searching, "save_genotype"), (searching, "save_curvature"), (reports, "save_curves")]
    with ExitStack() as stack:
        for module, name in plots:
            stack.enter_context(mock.patch.object(module, name))
        yield


def cut(overrides, folder, at):
    """The same run, killed at (phase, search epoch, batch) and resumed."""
    Crash.at = at
    with pytest.raises(RuntimeError, match="the machine died"):
        run(overrides, folder)
    assert Crash.at is None
    with undrawn():
        return resume(folder)


def checkpoint(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def table(folder, name="decisions"):
    """A table of the run folder, as text."""
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(folder, name, kind=float, phase=None):
    """A column of metrics.csv."""
    return [kind(row[name]) for row in table(folder, "metrics") if phase in (None, row["phase"])]


def same(a, b):
    """Equal bits, in nested lists and dictionaries of tensors."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def same_outcome(first, second, name="last"):
    """Two run folders hold the same tables, genotype, summary and last state; only times may differ."""
    for file in ("metrics.csv", "genotypes.jsonl", "genotype.json", "decisions.csv"):
        assert (first / file).exists() == (second / file).exists(), file
        if (first / file).exists():
            assert (first / file).read_bytes() == (second / file).read_bytes(), file
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (first, second)]
    for summary in summaries:
        for section, keys in (
            ("search", ("seconds", "images_per_second", "peak_memory_mib")),
            ("selection", ("seconds",)),
        ):
            for key in keys:
                summary[section].pop(key)
    assert summaries[0] == summaries[1]
    a, b = checkpoint(first, name), checkpoint(second, name)
    for key in ("state_dict", "optimizer_states", "search", "epoch", "global_step"):
        assert same(a[key], b[key]), key


def edges_of(genotype):
    """{cell: {(source, node): operation}} of a genotype or of its dictionary."""
    cells = genotype.cells if hasattr(genotype, "cells") else genotype["cells"]
    return {name: {(source, node): op for node, op, source in edges} for name, edges in cells.items()}


def decided_edges(rows):
    """The same from a table of decisions: every operation whose edge was not pruned."""
    found = {}
    for row in rows:
        edge = (int(row["source"]), int(row["node"]))
        if row["kind"] == "operation":
            found.setdefault(row["choice"], {})[edge] = row["option"]
        else:
            found.setdefault(row["choice"], {}).pop(edge, None)
    return found


class NotedRadius(Random):
    """Random perturbation that notes its radius, epoch by epoch."""

    seen: dict = {}  # noqa: RUF012 - shared on purpose

    def epsilon(self, epoch, epochs):
        value = super().epsilon(epoch, epochs)
        NotedRadius.seen.setdefault(value, 0)
        NotedRadius.seen[value] += 1
        return value
