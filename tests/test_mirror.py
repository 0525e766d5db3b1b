"""`tests/` mirrors `src/nas_lightning/`: who changes a module finds its tests in the folder of the same name.

A module has its tests there if a file's name contains the module's, or if a file names the module or a class of it. The
rest is listed, with the file that tests it or the reason why none does.

`tests/parity/` mirrors no folder: it compares whole steps with those of released code, as numbers (`released_code`).

Files at the root of `tests/` are about the product as a whole, whatever folder its parts lie in: the experiments of the
papers, GPUs, the wheel, a release, what users bring, the rooms themselves. Modules there that are no tests are shared
toy problems, slow references and ways to run a program.
"""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import nas_lightning

SOURCE = Path(nas_lightning.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(
    path.relative_to(SOURCE).with_suffix("").as_posix() for path in SOURCE.rglob("*.py") if path.name != "__init__.py"
)
PROTOCOL = "a protocol or base class: every test of a part goes through it"
ELSEWHERE = {
    "api": "cli/test_app.py",
    "callbacks/checkpoint": "runs/test_faults.py",
    "callbacks/interrupt": "cli/test_app.py",
    "callbacks/phase_module": "callbacks/test_cost.py",
    "callbacks/preemption": "sweeps/test_submitit.py",
    "callbacks/run_logging": "loggers/test_wandb_logger.py",
    "callbacks/tables": "cli/test_app.py",
    "cli/help": "cli/test_app.py",
    "config/aliases": "tasks/test_resume_before.py",
    "config/secrets": "config/test_security.py",
    "control/curvature_stopping": "control/test_control.py",
    "control/eigenvalue_control": "control/test_control.py",
    "convert/base": "convert/test_convert_task.py",
    "core/bilevel": "hypergradients/test_hypergradients.py",
    "core/control": PROTOCOL,
    "core/evaluator": PROTOCOL,
    "core/one_shot": PROTOCOL,
    "core/part": "cli/test_faults_of_parts.py",
    "core/perturbation": PROTOCOL,
    "core/proxy": PROTOCOL,
    "core/ranks": "training/test_processes.py",
    "core/relaxation": PROTOCOL,
    "core/proposer": PROTOCOL,
    "core/selector": PROTOCOL,
    "curvature/products": "curvature/test_eigenvalues.py",
    "data/survey": "data/test_data_pixels.py",
    "data/keyed_module": "data/test_data_keyed.py",
    "deployment/exporting": "deployment/test_deployment.py",
    "deployment/load": "deployment/test_deployment.py",
    "loggers/tensorboard": "cli/test_app.py",
    "planning/output": "planning/test_planning.py",
    "reports/landscape": "analyses/test_landscape_task.py",
    "reports/runs": "reports/test_report_tables.py",
    "runs/documents": "runs/test_faults.py",
    "runs/files": "runs/test_faults.py",
    "runs/history": "runs/test_layout.py",
    "runs/tables": "runs/test_layout.py",
    "searches/adjustable": "control/test_control.py",
    "searches/bilevel": "searches/test_search.py",
    "searches/fit": "searches/test_search.py",
    "searches/metrics": "searches/test_search.py",
    "searches/module": "searches/test_search.py",
    "searches/origin": "searches/test_selection_stage.py",
    "searches/outcome": "searches/test_search.py",
    "searches/progress": "searches/test_search.py",
    "searches/rollback": "control/test_control.py",
    "selectors/paths": "selectors/test_random_search.py",
    "spaces/cell_genotypes": "spaces/test_cell_space.py",
    "spaces/known_operations": "spaces/test_cell_space.py",
    "spaces/nasbench201_macro": "spaces/test_nasbench201_networks.py",
    "spaces/node_sum": "spaces/test_node_by_node.py",
    "spaces/operation_terms": "spaces/test_node_by_node.py",
    "spaces/regularized": "regularizers/test_drop_path.py",
    "spaces/cell_pass": "spaces/test_node_by_node.py",
    "spaces/source_node": "spaces/test_node_by_node.py",
    "spaces/space_of_cells": "spaces/test_cell_space.py",
    "spaces/wave_layout": "spaces/test_node_by_node.py",
    "sweeps/run": "sweeps/test_sweeps.py",
    "tasks/convert": "convert/test_convert_task.py",
    "tasks/export": "deployment/test_deployment.py",
    "tasks/inspect": "cli/test_app.py",
    "tasks/phases": "tasks/test_resume.py",
    "tasks/predict": "deployment/test_deployment.py",
    "tasks/report": "reports/test_report_page.py",
    "tasks/trained": "deployment/test_deployment.py",
    "training/finite": "runs/test_faults.py",
    "training/contracts": "training/test_kinds_of_data.py",
    "data/source": "training/test_kinds_of_data.py",
    "data/streams": "training/test_kinds_of_data.py",
}
"""Modules without tests of their own in the folder: the file that tests them, or why none does."""


def has_tests(module):
    """Whether a test file of the module's folder is named after it, or names it or one of its classes."""
    room, stem = (TESTS / module).parent, module.rpartition("/")[2]
    classes = [
        node.name
        for node in ast.parse((SOURCE / f"{module}.py").read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    words = re.compile(
        "|".join([re.escape(f"nas_lightning.{module.replace('/', '.')}"), *classes]).join((r"\b(", r")\b"))
    )
    files = [] if room == TESTS else sorted(room.glob("test_*.py"))
    return any(stem in file.stem or words.search(file.read_text()) for file in files)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_its_tests_in_the_folder_of_its_name(module):
    if module in ELSEWHERE:
        assert not has_tests(module), f"{module} has tests in tests/{module.rpartition('/')[0]}; take it from ELSEWHERE"
    else:
        assert has_tests(module), f"tests/{module.rpartition('/')[0]} has no test of {module}"


def test_what_is_tested_elsewhere_exists_and_so_does_its_test():
    assert sorted(set(ELSEWHERE) - set(MODULES)) == []
    named = {file for file in ELSEWHERE.values() if file != PROTOCOL}
    assert sorted(file for file in named if not (TESTS / file).is_file()) == []


def test_names_of_test_files_are_unique_and_helpers_lie_at_the_root():
    """pytest imports them by their names alone, as configurations of tests do."""
    names = Counter(path.name for path in TESTS.rglob("*.py"))
    assert [name for name, number in names.items() if number > 1] == []
    inside = [path for path in TESTS.rglob("*/*.py") if not path.name.startswith("test_")]
    assert inside == []
