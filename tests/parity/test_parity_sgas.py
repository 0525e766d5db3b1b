"""SGAS' decisions beside its code's: twelve searches of 50 epochs, both criteria, α by formula."""

from types import SimpleNamespace

import pytest
import torch

from nas_lightning.control import GreedyDecisions
from released_code import formula_arch, module_of, released

RUNS = released("sgas")["sgas"]
CRITERIA = {False: "importance_certainty", True: "importance_certainty_stability"}
SETUP = {"schedule": 50, "C": 2, "layers": 1, "batch": 64, "size": 8}


@pytest.mark.parametrize("run", RUNS, ids=[f"{CRITERIA[run['history']]} {run['series']}" for run in RUNS])
def test_edges_operations_and_dropped_edges_are_those_of_the_released_code(run, tmp_path):
    module, _ = module_of(["method=sgas", "space=darts"], SETUP, tmp_path)
    data = SimpleNamespace(batch_size=64)
    # No epoch is trained here: of the Trainer, a decision by magnitude needs the loader's batch size alone.
    trainer = SimpleNamespace(
        datamodule=data,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        precision_plugin=SimpleNamespace(forward_context=None),
    )
    control = GreedyDecisions(CRITERIA[run["history"]])
    log = []
    for epoch in range(50):
        slope, scale = 0.31 + 0.17 * run["series"] + 0.002 * epoch, 0.2 + 0.03 * epoch
        arch = formula_arch(14, 8, slope, scale).float().double()  # single precision there
        module.arch = {"normal": arch, "reduce": arch.clone()}
        module.progress.search_epoch = epoch
        known = len(module.decisions.history)
        control.on_train_epoch_end(trainer, module)
        new = [row for row in module.decisions.history[known:] if row["choice"] == "normal"]
        if new:
            log.append([epoch, sorted([row["row"], row["option"] or "none"] for row in new)])
    assert log == run["log"]
    assert data.batch_size == 64 + 8 * 8
