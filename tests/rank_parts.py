"""What the processes of a distributed run do in tests, and the parts that tell the test of it."""

import os
from pathlib import Path

import lightning as L
import torch
from torch import nn

import nas_lightning as nl
from conftest import TINY_SIZES
from nas_lightning.config.compose import as_dict
from nas_lightning.core import ranks
from nas_lightning.regularizers import Regularizer
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.run import run_search
from nas_lightning.spaces import CellSpace
from nas_lightning.training.processes import SearchDDP
from nas_lightning.training.workbench import Workbench
from sketched import Sketching, sketch_pictures


class Record(L.Callback):
    """Leaves what a search ends with, and the architecture parameters after each step, in a file for each process."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.trajectory = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.trajectory.append({name: a.detach().clone() for name, a in pl_module.arch.items()})

    def on_train_end(self, trainer, pl_module):
        self.folder.mkdir(parents=True, exist_ok=True)
        found = {
            "arch": {name: a.detach() for name, a in pl_module.arch.items()},
            "weights": dict(pl_module.supernet.state_dict()),
            "momenta": [s["state"] for s in (o.state_dict() for o in trainer.optimizers)],
            "decisions": pl_module.decisions.state_dict(),
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "epoch": pl_module.search_epoch,
            "trajectory": self.trajectory,
        }
        torch.save(found, self.folder / f"{pl_module.phase}.rank{ranks.rank()}.pt")


class InDouble(Regularizer):
    """Images in float64."""

    def on_images(self, images):
        return images.double()


class GroupNormed(CellSpace):
    """A space whose normalisation sees one image at a time."""

    def supernet(self, *args, **kwargs):
        net = super().supernet(*args, **kwargs)
        for module in list(net.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, nn.GroupNorm(1, child.num_features, affine=False))
        return net.double()


class Double(CellSpace):
    """A space whose networks are of float64."""

    def supernet(self, *args, **kwargs):
        return super().supernet(*args, **kwargs).double()


def case(overrides, images, folder, batch, space=None, trainer="cpu"):
    """Configuration of a tiny search that records its trajectory; in float64 if a space of this module is named."""
    composed = nl.compose(
        [
            *("data=arrays", f"data.path={images}", "space=s3", f"trainer={trainer}", *TINY_SIZES),
            *("search.arch.warmup_epochs=0", "trusted=[rank_parts]", f"search.batch_size={batch}"),
            *("+callbacks.record._target_=rank_parts.Record", f"+callbacks.record.folder={folder}"),
            *overrides,
        ]
    )
    config = as_dict(composed)
    if space is not None:
        config["space"]["_target_"] = f"rank_parts.{space}"
        config["regularizer"] = {**config["regularizer"], "double": {"_target_": "rank_parts.InDouble"}}
    return config


def search_all(config, folder):
    """Search by every configuration of `cases`; the folders are those of the cases."""
    torch.set_num_threads(1)
    sketch_pictures()
    Sketching.on = True
    for name, case in config["cases"].items():
        torch.set_default_dtype(torch.float64 if "double" in name else torch.float32)
        home = Path(folder) / name
        home.mkdir(exist_ok=True)
        found = run_search(Workbench({**case, "trainer": {**case["trainer"], **config["trainer"]}}, RunFolder(home)))
        torch.save(found.genotype.to_dict(), home / f"genotype.rank{ranks.rank()}.pt")


def search_on_one_gpu(rank, port, config, folder):
    """One of two processes that share a GPU: told that they are on two machines, and without NCCL, which refuses it."""
    os.environ |= {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"},
        **{"RANK": str(rank), "GROUP_RANK": str(rank), "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "one-gpu"},
    }
    SearchDDP._get_process_group_backend = lambda self: "gloo"
    search_all(config, folder)


def fail_in_the_second(config, folder):
    """One process fails while the other waits for it."""
    if ranks.rank() == 1:
        raise ValueError("a mistake in process 1")
    torch.distributed.init_process_group("gloo", rank=0, world_size=2)
    torch.distributed.barrier()
