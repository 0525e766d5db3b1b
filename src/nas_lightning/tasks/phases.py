"""The phases of a run in order: search, selection, evaluation."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas_lightning import reports
from nas_lightning.callbacks import stopping_at_once
from nas_lightning.core import ranks
from nas_lightning.core.errors import Interrupted
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.objective import Goal
from nas_lightning.core.terminal import screen
from nas_lightning.runs import layout
from nas_lightning.runs.completeness import is_pending
from nas_lightning.runs.faults import reporting_failures
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.check import check_search
from nas_lightning.searches.memory import check_memory
from nas_lightning.searches.origin import origin_checkpoint
from nas_lightning.searches.run import run_search
from nas_lightning.tasks import images
from nas_lightning.tasks.candidates import member_benches, run_candidates
from nas_lightning.tasks.genotype import given_genotype
from nas_lightning.tasks.identity import ensure_named, name_run
from nas_lightning.tasks.methods import method_benches, run_methods
from nas_lightning.tasks.pool import check_pool, run_pool
from nas_lightning.tasks.random_baseline import begun, run_baseline
from nas_lightning.tasks.readings import reading_benches, run_readings
from nas_lightning.tasks.select import is_looked_up
from nas_lightning.training.processes import check_processes, start_here, starts_here
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)


def start(bench: Workbench) -> None:
    """Build and check every part, then claim the folder and write the identity of the run.

    Raises:
        ConfigError: A part or the folder cannot be used; nothing is written then.
        MachineError: The folder cannot be written.
    """
    check_processes(bench.config.trainer, bench.config.task)
    if bench.config.task in ("pipeline", "search"):
        searches = [one for method in (bench, *method_benches(bench).values()) for one in _check_searches(method)]
        check_memory(searches)
        for reading in reading_benches(bench).values():
            check_search(reading)
    if bench.config.task == "select":
        check_search(bench)
        origin_checkpoint(bench)
    if bench.config.task in ("pipeline", "evaluate"):
        bench.evaluator.check(bench)
    # Built now, so that nothing is written where one of them is refused; a Trainer refuses much by itself.
    _ = bench.loggers, bench.probe
    record = images.checked_record(bench)
    images.split_of(bench)  # refused now, where nothing is written yet
    bench.folder.claim(bench.config.to_dict())
    with reporting_failures(bench.folder):
        images.keep(bench, record)
        name_run(bench)


def _check_searches(bench: Workbench) -> list[Workbench]:
    """Check the searches of one method, several where it has candidates, none where it has a pool; return them."""
    if bench.config.candidates.proposer is not None:
        check_pool(bench)
        return []
    members = member_benches(bench)
    for search in members or [bench]:
        check_search(search)
    for member in members:
        member.evaluator.check(member)
    return members or [bench]


@contextmanager
def guarded(folder: RunFolder) -> Iterator[None]:
    """Lock the folder; report interruptions and machine failures in one line with the command to resume.

    Raises:
        ConfigError: Another process runs the folder.
        MachineError: The disk, the folder or the images fail.
        Interrupted: The user or a signal stopped the run.
    """
    try:
        with folder.locked(), stopping_at_once(folder), reporting_failures(folder):
            yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped at once; continue with {folder.command()}") from error


def run_phases(bench: Workbench, show: bool = True) -> dict[str, Any]:
    """Run the phases that are not finished; return the summary.

    Args:
        bench: The workbench; with several devices the phases may run in processes that are started here.
        show: Print the outcome on rank 0.
    """
    if ranks.is_first():
        named = bench.folder.summary()
        log.info("%s", " · ".join(f"{key} {named[key]}" for key in ("task", "method", "space", "data", "seed")))
    if starts_here(bench.config.trainer):
        start_here(_run_rank, bench.config.to_dict(), bench.folder.path)
        summary = bench.folder.summary()
    else:
        summary = _run_here(bench)
    if ranks.is_first():
        reports.show_outcome(summary, str(bench.folder), show)
    return summary


def _run_rank(config: dict[str, Any], path: Path) -> None:
    """Run the phases in a process that was started for one rank."""
    with guarded(RunFolder(path)):
        _run_here(Workbench(config, RunFolder(path)))


def _run_here(bench: Workbench) -> dict[str, Any]:
    """Run the phases in this process; of several ranks all compute the same genotype, and rank 0 writes."""
    folder, task = bench.folder, bench.config.task
    summary = folder.summary()
    found: Genotype | None = None
    with bench.loggers:
        if task in ("pipeline", "search", "select") and summary["search"] is None:
            summary = _search(bench)
            found = Genotype.from_dict(summary["genotype"])  # not from the file: rank 0 may not have written it yet
        if task == "select" and summary["evaluation"] == {} and not is_looked_up(bench):  # the table is gone since then
            summary = folder.update_summary(evaluation=None)
        if summary["evaluation"] == {} or (task in ("pipeline", "evaluate") and summary["evaluation"] is None):
            # `found` is None in a resume after the search, and for `task=evaluate`, which may draw at random: a resume
            # reads the file that the first start wrote.
            if found is None and (folder.path / layout.GENOTYPE).exists():
                found = folder.genotype()
            elif found is None:
                found = given_genotype(bench)
                folder.save_genotype(found)
            summary = _evaluate(bench, found)
        if task in ("pipeline", "evaluate") and is_pending(summary["evaluation"]):
            bench.loggers.start()
            summary = run_baseline(bench, summary["evaluation"], _run_baseline_member)
    if summary.get("readings") == {}:
        summary = _keep(folder, readings=run_readings(bench, _run_reading, _evaluate_reading))
    if summary.get("methods") == {}:
        summary = _keep(folder, methods=run_methods(bench, _run_method))
    ranks.wait()
    return summary


def _keep(folder: RunFolder, **found: Any) -> dict[str, Any]:
    """Draw what readings or further methods have found, then write it to the summary, which calls the run finished."""
    ranks.wait()
    _draw_readings(folder, found)
    return folder.update_summary(**found)


def _search(bench: Workbench) -> dict[str, Any]:
    bench.loggers.start()
    pooled = bench.config.candidates.proposer is not None
    if pooled or bench.config.candidates.key is not None:
        found_by = run_pool(bench, _train_member) if pooled else run_candidates(bench, _run_member)
        genotype, search, selection, members = found_by
        return bench.folder.update_summary(
            genotype=genotype.to_dict(), search=search, selection=selection, candidates=members
        )
    found = run_search(bench)
    summary = bench.folder.update_summary(
        genotype=found.genotype.to_dict(), search=found.search, selection=found.selection
    )
    _draw_curves(bench.folder, ("search", "selection"))
    return summary


def _run_member(member: Workbench, kind: str = "candidate") -> dict[str, Any]:
    """Run or resume a member of the run; a finished one is only read."""
    console = screen()
    if member.folder.holds_run:
        ensure_named(member)
    else:
        start(member)
    if ranks.is_first():
        console.print(f"{kind}: {member.folder}", highlight=False, soft_wrap=True)
    return run_phases(member, show=False)


def _train_member(member: Workbench, genotype: Genotype, epochs: int) -> dict[str, Any]:
    """Train or continue a candidate of a pool up to an epoch; return the section `evaluation` of its summary."""
    if member.folder.holds_run:
        ensure_named(member)
    else:
        start(member)
    # Under the method that suggests it, not under its genotype: loggers group by that.
    before = member.folder.update_summary(method=member.config.method, genotype=genotype.to_dict())["evaluation"]
    member.folder.save_genotype(genotype)
    if ranks.is_first():
        paused = f"paused after {before['epochs']}, " if before else ""
        screen().print(f"candidate: {member.folder}, {paused}up to {epochs} epochs", highlight=False, soft_wrap=True)
    with member.folder.locked(), member.loggers:  # a job of a run that was killed may train it still
        member.loggers.start()
        found = member.evaluator.train_to(genotype, member, epochs)
        evaluation: dict[str, Any] = member.folder.update_summary(evaluation=found)["evaluation"]
    return evaluation


def _run_baseline_member(member: Workbench) -> dict[str, Any]:
    return _run_member(member, f"random genotype {member.config.seed}")


def _evaluate(bench: Workbench, found: Genotype) -> dict[str, Any]:
    bench.loggers.start()
    evaluator = bench.evaluator
    result = evaluator(found, bench)
    summary = bench.folder.update_summary(
        genotype=found.to_dict(), evaluation={**result, **begun(bench.config.evaluation)}
    )
    _draw_curves(bench.folder, ("evaluation",))
    return summary


def _run_reading(member: Workbench) -> dict[str, Any]:
    return _run_member(member, "reading")


def _run_method(member: Workbench) -> dict[str, Any]:
    return _run_member(member, "method")


def _evaluate_reading(member: Workbench, found: Genotype) -> dict[str, Any]:
    """Evaluate the genotype of a reading, which has no phase of its own for that."""
    with guarded(member.folder), member.loggers:
        return _evaluate(member, found)


@ranks.first_only
def _draw_readings(folder: RunFolder, found: dict[str, Any]) -> None:
    reports.save_readings({**folder.summary(), **found}, folder.path)


@ranks.first_only
def _draw_curves(folder: RunFolder, phases: tuple[str, ...]) -> None:
    summary = folder.summary()
    reports.save_curves(folder.metrics, folder.plots, reports.run_title(summary), Goal.of(summary), phases)
