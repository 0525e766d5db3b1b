"""Search by further methods after that of the run, and evaluate what they find (`methods`).

Each is the run of the same command with another method, in `methods/NAME`: the same space, images, seed and evaluation.
So a single command compares methods; it is resumed as one run.
"""

from collections.abc import Callable
from typing import Any

from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.members import stopping_in
from nas_lightning.training.workbench import Workbench

KEPT = ("genotype", "search", "selection", "evaluation")
"""Sections of a further method's summary that the summary of the run repeats."""


def method_benches(bench: Workbench) -> dict[str, Workbench]:
    """Return a workbench for each further method, by its name."""
    return {
        name: bench.variant(config, RunFolder(bench.folder.methods / name))
        for name, config in bench.config.further_methods().items()
    }


def run_methods(bench: Workbench, run_member: Callable[[Workbench], dict[str, Any]]) -> dict[str, Any]:
    """Run every further method that is not finished; return the section `methods` of the summary.

    Args:
        bench: The workbench of the run.
        run_member: Runs or resumes a further method in its folder and returns its summary.

    Raises:
        Interrupted: The user stopped one; the whole run can be resumed.
    """
    found = {}
    for name, member in method_benches(bench).items():
        with stopping_in(f"method {name}", bench.folder):
            summary = run_member(member)
        found[name] = {key: summary[key] for key in KEPT}
    return found
