"""pool.jsonl: events are taken in their order, then added; a kill leaves whole lines or a part that is removed."""

import json

import pytest

from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.pool import Journal

EVENTS = [{"event": "proposed", "index": 0}, {"event": "judged", "index": 0, "level": 0, "value": 0.1}]


@pytest.fixture
def journal(tmp_path):
    made = RunFolder(tmp_path).journal()
    for event in EVENTS:
        made.add(event)
    return made


def test_events_are_taken_as_they_were_added(journal, tmp_path):
    again = RunFolder(tmp_path).journal()
    assert not again.at_end
    assert again.comes_next(event="proposed", index=0)
    assert not again.comes_next(event="proposed", index=1)
    assert [again.take(event="proposed"), again.take(event="judged", level=0)] == EVENTS
    assert again.at_end
    assert again.take(event="judged", index=1) is None
    third = {"event": "judged", "index": 0, "level": 1, "value": 93.1234}
    assert again.add(third) == third
    assert [json.loads(line) for line in journal.path.read_text().splitlines()] == [*EVENTS, third]


@pytest.mark.parametrize("cut", [1, 10, 50])
def test_a_part_of_a_line_is_removed(journal, tmp_path, cut):
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-cut])
    again = Journal(journal.path, ("run", "resume=run"))
    assert again.take() == EVENTS[0]
    assert again.at_end  # the cut line is not there
    again.add(EVENTS[1])
    assert journal.path.read_bytes() == whole


def test_another_event_is_refused(journal, tmp_path):
    again = RunFolder(tmp_path).journal()
    with pytest.raises(
        ConfigError, match=r"line 1 is not the event .*: proposed 3\); delete it and the folder cand.*resume="
    ):
        again.take(event="proposed", index=3)
    with pytest.raises(ConfigError, match="line 1 is not the event that follows here: judged 3"):
        again.add({"event": "judged", "index": 3, "genotype": {}})


def test_a_damaged_line_is_refused(journal, tmp_path):
    journal.path.write_text("{\n" + journal.path.read_text())
    with pytest.raises(ConfigError, match=r"resume=.*pool\.jsonl there is damaged"):
        RunFolder(tmp_path).journal()


def test_every_process_reads_the_file_and_the_first_alone_writes(journal, tmp_path, monkeypatch):
    """As after a resume with several devices: no process group exists before the first training."""
    cut = journal.path.read_bytes()[:-1]
    journal.path.write_bytes(cut)
    monkeypatch.setenv("LOCAL_RANK", "1")
    other = RunFolder(tmp_path).journal()
    assert other.take() == EVENTS[0]
    assert other.at_end
    other.add(EVENTS[1])
    assert journal.path.read_bytes() == cut
