"""The metric that the runs of a table share."""

import pytest

import nas_lightning as nl
from nas_lightning.analyses.goals import SharedGoal, note_goal
from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.runs.folder import RunFolder

ERROR = Goal("mean_absolute_error", "years", "min")


def test_the_first_run_decides(tmp_path):
    shared = SharedGoal()
    shared.add(RunFolder(tmp_path / "a"), ERROR)
    shared.add(RunFolder(tmp_path / "b"), Goal("mean_absolute_error", "years", "min"))
    for other in (ACCURACY, Goal("mean_absolute_error", "days", "min")):
        with pytest.raises(
            nl.ConfigError, match=r"run=.*c: it reports .*, and .*a reports mean absolute error \(years\);"
        ):
            shared.add(RunFolder(tmp_path / "c"), other)
    assert shared.goal == ERROR


def test_a_summary_that_does_not_say_stands_for_accuracy(tmp_path):
    folder = RunFolder(tmp_path)
    note_goal(folder, SharedGoal().goal)
    assert list(tmp_path.iterdir()) == []
    assert Goal.of(folder.summary()) == ACCURACY
    note_goal(folder, ERROR)
    assert Goal.of(folder.summary()) == ERROR
