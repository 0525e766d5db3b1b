"""What the display says of a run that goes on."""

import pytest

import nas_lightning as nl
from lightning_parts import CrashOnce


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


def test_a_resumed_run_says_after_which_epoch(tiny, tmp_path, capsys):
    crash = ["trusted=[lightning_parts]", "+callbacks.crash._target_=lightning_parts.CrashOnce"]
    crash += ["+callbacks.crash.phase=search", "+callbacks.crash.epoch=1"]
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        nl.search(nl.compose([*tiny, *crash, "search.epochs=3"]), run_dir=tmp_path / "run")
    assert "resuming" not in capsys.readouterr().out
    nl.resume(tmp_path / "run")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("search:")]
    assert said[0] == "search: resuming after epoch 0 (1/3)"
    assert [line.partition(",")[0] for line in said[1:]] == ["search: epoch 1 (2/3)", "search: epoch 2 (3/3)"]
    assert said[1].endswith(" left")
    assert said[2].endswith(" 0:00:00 left")
