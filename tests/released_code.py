"""A search whose weights, architecture parameters and images come by formula, run in double precision.

Released code of other authors once ran the same few steps; `tests/parity/` holds what it computed, as numbers. Weights
are numbered in one order on both sides: the stem; of each cell what brings its two inputs to size, then its edges with
their operations; the classifier.
"""

import json
import math
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from torch.utils.data import DataLoader

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.hypergradients import Hypergradient
from nas_lightning.perturbations import Perturbation
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module
from nas_lightning.searches.stages import plan_stages
from nas_lightning.training.workbench import Workbench


def released(name):
    """What the released code of `name` computed: its setup, and a row for each step."""
    return json.loads((Path(__file__).parent / "parity" / f"{name}.json").read_text())


# By formula ---------------------------------------------------------------------------------------------------------


def formula_weight(index, shape):
    """Weight number `index`: a scale around 1 if it is a vector, else a sine in the scale of its fan-in."""
    wave = torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 0.37 + 1.3 * index)
    if len(shape) == 1:
        return (1.0 + 0.2 * wave).view(shape)
    return (wave * 1.5 / math.sqrt(math.prod(shape[1:]))).view(shape)


def formula_arch(rows, columns, slope, scale=0.3):
    """Architecture parameters [rows, columns]."""
    return (scale * torch.sin(torch.arange(rows * columns, dtype=torch.float64) * slope)).view(rows, columns)


def formula_batch(number, size, pixels, classes=10):
    """Images [size, 3, pixels, pixels] and labels [size] of batch `number`."""
    j = torch.arange(size * 3 * pixels * pixels, dtype=torch.float64)
    images = torch.sin(j * (0.0291 + 0.0013 * number) + 0.7 * number).view(size, 3, pixels, pixels)
    return images, torch.tensor([(3 * i + 5 * number + i * i) % classes for i in range(size)])


def formula_batches(setup, steps):
    """Pairs of a batch of the inner and one of the outer loss, one pair a step."""
    size, pixels = setup["batch"], setup["size"]
    return [tuple(formula_batch(2 * step + stream, size, pixels) for stream in (0, 1)) for step in range(steps)]


# The search ---------------------------------------------------------------------------------------------------------


def canonical(supernet):
    """The weights of a supernet in the order that both sides share."""
    found = list(supernet.stem.parameters())
    if hasattr(supernet, "reductions"):  # NAS-Bench-201: residual blocks between the stages
        for index, cell in enumerate(supernet.cells):
            if index and index % supernet.layers == 0:
                found += supernet.reductions[index // supernet.layers - 1].parameters()
            found += cell.parameters()
        found += supernet.head.parameters()
    else:
        for cell in supernet.cells:
            found += [*cell.preprocess.before.parameters(), *cell.preprocess.last.parameters()]
            found += cell.edges.parameters()
    found += supernet.classifier.parameters()
    assert sorted(map(id, found)) == sorted(map(id, supernet.parameters()))
    return found


def module_of(overrides, setup, folder):
    """A search module in double precision, with weights and architecture parameters by formula, and its workbench."""
    pixels = setup["size"]
    images = np.random.default_rng(0).integers(0, 255, (60, pixels, pixels, 3), dtype=np.uint8)
    labels = np.arange(60) % 10
    file = folder / "images.npz"  # for its shape alone: the batches come by formula
    np.savez(file, x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])
    sizes = [
        f"search.epochs={setup['schedule']}",
        f"search.init_channels={setup['C']}",
        f"search.layers={setup.get('layers', 1)}",
        f"search.batch_size={setup['batch']}",
    ]
    config = nl.compose(
        ["task=search", "data=arrays", f"data.path={file}", "trainer=cpu", "~callbacks.curvature", *overrides, *sizes]
    )
    bench = Workbench(as_dict(config), RunFolder(folder))
    module = build_module(bench, plan_stages(bench.config)[0]).double()
    with torch.no_grad():
        for index, weight in enumerate(canonical(module.supernet)):
            weight.copy_(formula_weight(index, tuple(weight.shape)))
    module.arch = {
        name: formula_arch(*a.shape, slope) for (name, a), slope in zip(module.arch.items(), (0.71, 1.13), strict=False)
    }
    return module, bench


class Batches(L.LightningDataModule):
    """The given batches, `per_epoch` of them in each of Lightning's epochs."""

    val_is_augmented = False

    def __init__(self, given, per_epoch):
        super().__init__()
        self.given = given
        self.per_epoch = per_epoch

    def train_dataloader(self):
        first = self.trainer.current_epoch * self.per_epoch
        pairs = self.given[first : first + self.per_epoch]
        return {
            name: DataLoader([pair[stream] for pair in pairs], batch_size=None)
            for stream, name in enumerate(("train", "arch"))
        }


class Watch(L.Callback):
    """Records the state after each step, as the numbers of the released code do."""

    def __init__(self):
        self.rows = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        sgd, adam = pl_module.optimizers(use_pl_optimizer=False)
        weights, arch = canonical(pl_module.supernet), list(pl_module.arch.values())
        buffers = [sgd.state.get(w, {}).get("momentum_buffer") for w in weights]
        momentum = [torch.zeros_like(w) if b is None else b for w, b in zip(weights, buffers, strict=True)]
        moments = [adam.state[a][key] for key in ("exp_avg", "exp_avg_sq") for a in arch if a in adam.state]
        self.rows.append(
            {
                "arch": [a.detach().flatten().tolist() for a in arch],
                "weights": fingerprint(weights),
                "momentum": fingerprint(momentum),
                "lr": sgd.param_groups[0]["lr"],
                "adam": fingerprint(moments or [torch.zeros(1)]),
            }
        )


def train(module, given, setup, epochs):
    """Run the module's own steps on the given batches, up to a search epoch; return the Trainer and a row a step."""
    watch = Watch()
    module.progress.last_epoch = epochs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)  # no validation, few batches: as meant
        trainer = L.Trainer(
            max_epochs=-1,
            callbacks=[watch],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            reload_dataloaders_every_n_epochs=1,
            accelerator="cpu",
            limit_val_batches=0,
        )
        trainer.fit(module, datamodule=Batches(given, setup.get("per_epoch", 1)))
    return trainer, watch.rows


class RecordedHypergradient(Hypergradient):
    """Records what another estimator returns."""

    def __init__(self, estimator):
        self.estimator = estimator
        self.second_order = estimator.second_order
        self.found = []

    def __call__(self, problem):
        gradients, loss = self.estimator(problem)
        self.found.append({name: value.flatten().tolist() for name, value in gradients.items()})
        return gradients, loss


class RecordedPerturbation(Perturbation):
    """Records the radius and the mixing weights of another perturbation."""

    simplex = True

    def __init__(self, perturbation):
        self.perturbation = perturbation
        self.bn_mode = perturbation.bn_mode
        self.found = []

    def __call__(self, mixing, loss_of_mixing, choices, epsilon, generator, reduce):
        perturbed = self.perturbation(mixing, loss_of_mixing, choices, epsilon, generator, reduce)
        self.found.append((epsilon, [rows.detach().flatten().tolist() for rows in perturbed.values()]))
        return perturbed

    def epsilon(self, epoch, epochs):
        return self.perturbation.epsilon(epoch, epochs)


# Comparison ---------------------------------------------------------------------------------------------------------


def fingerprint(tensors):
    """The norm of many tensors as one vector, and four projections: numbers that differ as soon as any of them does."""
    flat = torch.cat([t.detach().double().flatten() for t in tensors])
    j = torch.arange(flat.numel(), dtype=torch.float64)
    return [float(flat.norm()), *(float((flat * torch.sin(j * (0.011 + 0.007 * k))).sum()) for k in range(4))]


def deviation(found, wanted):
    """The largest difference, relative to the largest wanted number."""
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (found, wanted))
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))


def deviations(rows, wanted, keys):
    """The largest deviation of each key over the steps; `arch` and `used` hold one list a choice."""
    assert len(rows) == len(wanted)
    worst = {}
    for row, other in zip(rows, wanted, strict=True):
        for key in keys:
            nested = isinstance(other[key], list) and isinstance(other[key][0], list)
            pairs = zip(row[key], other[key], strict=True) if nested else [(row[key], other[key])]
            worst[key] = max([worst.get(key, 0.0), *(deviation(a, b) for a, b in pairs)])
    return worst
