"""Reading back what W&B writes offline.

Its files are logs of LevelDB's kind: a header of 7 bytes, then blocks of 32 KiB in which a record is one piece or
several, each after its checksum, length and kind (1: whole, 2: first, 3: middle, 4: last).
"""

import json
import struct
import time
from pathlib import Path

from google.protobuf.message import DecodeError
from wandb.proto import wandb_internal_pb2

BLOCK = 2**15


def records(file):
    """All records of a .wandb file."""
    data = Path(file).read_bytes()
    assert data[:4] == b":W&B"
    found, pieces, at = [], b"", 7
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # no room for a header: the block is padded
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if kind == 0:
            break
        pieces += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pieces)
            found.append(record)
            pieces = b""
    return found


def _items(items):
    return {("/".join(item.nested_key) if item.nested_key else item.key): json.loads(item.value_json) for item in items}


class OfflineRun:
    """One offline run: its settings, history, summary and artifacts."""

    def __init__(self, file):
        self.file = Path(file)
        self.records = records(file)
        (self.run,) = (record.run for record in self.records if record.HasField("run"))
        self.history = [_items(record.history.item) for record in self.records if record.HasField("history")]
        self.summary = {}
        self.config = {}
        for record in self.records:
            if record.HasField("summary"):
                self.summary |= _items(record.summary.update)
            if record.HasField("config"):
                self.config |= _items(record.config.update)
        self.artifacts = [record.artifact for record in self.records if record.HasField("artifact")]
        self.exit_codes = [record.exit.exit_code for record in self.records if record.HasField("exit")]
        self.metrics = {
            record.metric.name or record.metric.glob_name: record.metric.step_metric
            for record in self.records
            if record.HasField("metric")
        }

    def column(self, name):
        return [row[name] for row in self.history if name in row]


def offline_runs(folder, seconds=20):
    """The offline runs of a run folder, oldest first; W&B's own process may still write for some seconds."""
    files = sorted(Path(folder).glob("wandb/offline-run-*/*.wandb"), key=_age)
    for file in files:
        end = time.monotonic() + seconds
        while not _is_complete(file) and time.monotonic() < end:
            time.sleep(0.1)
    return [OfflineRun(file) for file in files]


def _is_complete(file):
    try:
        return any(record.HasField("exit") for record in records(file))
    except (AssertionError, DecodeError):  # without its head, or in the middle of a record
        return False


def _age(file):
    return file.stat().st_ctime
