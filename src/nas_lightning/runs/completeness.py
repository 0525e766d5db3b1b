"""Whether a run has finished its task, by its summary."""

from collections.abc import Mapping
from typing import Any

LAST_PART = {
    "pipeline": "evaluation",
    "evaluate": "evaluation",
    "search": "search",
    "select": "search",
    "analyse": "analysis",
    "landscape": "landscape",
}
"""Part of the summary that each task fills last, before a look-up that is due, its readings and further methods."""


def missing(summary: Mapping[str, Any]) -> str | None:
    """Return the part of its task that a run has not finished, in words; None where it has finished.

    Args:
        summary: Content of summary.json; without a task, the run was killed before it was named.
    """
    task = summary.get("task")
    if task is None:
        return "everything"
    last = LAST_PART.get(task)
    if last is not None and summary.get(last) is None:
        return last
    if is_pending(summary.get("evaluation")):
        return "random genotypes"
    # Empty from the start until all have ended, null where none are wanted; of a selection `evaluation` is a look-up.
    open_parts = {"evaluation": "evaluation", "readings": "readings", "methods": "further methods"}
    return next((words for name, words in open_parts.items() if summary.get(name) == {}), None)


def is_pending(section: Mapping[str, Any] | None) -> bool:
    """Return whether random genotypes are missing from the section `evaluation` of a summary."""
    baseline = (section or {}).get("random_baseline")
    return baseline is not None and len(baseline.get("members", ())) < baseline.get("number", 0)
