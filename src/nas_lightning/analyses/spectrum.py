"""All eigenvalues of the Hessian of the validation loss in the architecture parameters, for saved supernets.

Source: Zela et al., RobustDARTS (ICLR 2020), figures 13 and 14, and the released code: one batch of the arch half,
train mode, the weight decay of the architecture optimizer added to the diagonal. Deviation: their
batch is the last of the last epoch, which no checkpoint keeps; ours is that of `callbacks.curvature.batch=fixed`.
"""

from contextlib import nullcontext
from typing import Any, Literal

import torch

from nas_lightning.analyses.base import QUIET, show_table
from nas_lightning.analyses.figures import save_spectrum
from nas_lightning.analyses.supernets import Supernet, measure_all, supernets
from nas_lightning.callbacks.curvature import loss_of_arch
from nas_lightning.core.batches import placed_inputs
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.functional import evaluating
from nas_lightning.core.terminal import print_line
from nas_lightning.curvature import spectrum
from nas_lightning.searches.build import search_data
from nas_lightning.training.workbench import Workbench


class Spectrum:
    """Computes the spectrum on one batch of the arch half, run by run.

    Args:
        mode: `train` uses batch statistics, noise and drop-path, as released; `eval` running statistics and no noise.
        weight_decay: Whether to add the weight decay of the architecture optimizer to the diagonal, as released.
    """

    of_supernet = False

    def __init__(self, mode: Literal["train", "eval"] = "train", weight_decay: bool = True) -> None:
        self.mode = mode
        self.weight_decay = weight_decay

    def check(self, bench: Workbench) -> None:
        """Refuse runs that keep no supernet, or learn no architecture parameters.

        Raises:
            ConfigError: No run can be analysed, or the one that `run` names cannot.
        """
        for _ in supernets(bench, _learns):
            pass

    def __call__(self, bench: Workbench) -> dict[str, Any]:
        """Measure the runs that the table lacks; write the table and the figure, return the summary's section."""
        table = measure_all(bench, [_parsed(row) for row in bench.folder.read_analysis()], self._measure, _learns)
        save_spectrum(table, bench.folder.plots)
        by_run: dict[str, list[dict[str, Any]]] = {}
        for row in table:
            by_run.setdefault(row["run"], []).append(row)
        runs = []
        for run, rows in by_run.items():
            values = [row["eigenvalue"] for row in rows]
            runs.append(
                {
                    "run": run,
                    "epoch": rows[0]["epoch"],
                    "eigenvalues": len(values),
                    "largest": max(values),
                    "smallest": min(values),
                    "negative": sum(value < 0 for value in values),
                }
            )
        show_table(
            "spectrum of the Hessian in the architecture parameters",
            ["run", "epoch", "eigenvalues", "largest", "smallest", "negative"],
            [
                [
                    *(str(row[key]) for key in ("run", "epoch", "eigenvalues")),
                    *(f"{row[key]:.4g}" for key in ("largest", "smallest")),
                    str(row["negative"]),
                ]
                for row in runs
            ],
        )
        return {"name": "spectrum", "runs": runs}

    def _measure(self, supernet: Supernet) -> list[dict[str, Any]]:
        """Compute the spectrum of one supernet: one row per eigenvalue, ascending.

        Raises:
            GenotypeError: The search diverged.
        """
        stage, module = supernet.origin.module()
        images = search_data(stage)
        images.setup("fit")
        device: torch.device = stage.plain_trainer([], max_epochs=1, **QUIET).strategy.root_device
        module.to(device)
        inputs, targets = images.fixed_arch_batch()
        decay = module.settings.arch.weight_decay if self.weight_decay else 0.0
        with evaluating(module.supernet) if self.mode == "eval" else nullcontext():
            loss = loss_of_arch(module, (placed_inputs(inputs, device), targets.to(device)))
            values = spectrum(loss, module.arch, module.supernet, decay)
        if not values.isfinite().all():
            raise GenotypeError(f"run={supernet.run}: the Hessian is not finite: the search diverged; give another run")
        print_line(f"spectrum: {supernet.run}: {len(values)} eigenvalues, the largest {float(values[-1]):.4g}")
        return [{"number": number, "eigenvalue": value} for number, value in enumerate(values.tolist())]


def _learns(supernet: Supernet) -> None:
    """Refuse methods whose loss does not depend on architecture parameters: their Hessian is the weight decay alone.

    Raises:
        ConfigError: The method of the run is one of these.
    """
    if not supernet.origin.module()[1].hypergradient.learns:
        raise ConfigError(
            f"run={supernet.run}: method={supernet.bench.config.method} learns no architecture parameters; give the run"
            " of a gradient-based method"
        )


def _parsed(row: dict[str, str]) -> dict[str, Any]:
    """Convert a row of the table from text to its types."""
    whole = ("seed", "epoch", "number")
    return {
        key: int(value) if key in whole else float(value) if key == "eigenvalue" else value
        for key, value in row.items()
    }
