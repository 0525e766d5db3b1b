"""Measure the memory that an ONNX file takes on this machine, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SECONDS = 60
"""Time after which a measurement is given up."""
# VmHWM and not ru_maxrss: a new process inherits the latter from the one that starts it.
_SCRIPT = """
import json, sys
import numpy, onnxruntime

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))

path, shape, threads = json.loads(sys.argv[1])
images = numpy.zeros(shape, numpy.float32)
before = peak()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
for _ in range(3):
    session.run(None, {"images": images})
print(peak() - before)
"""


def peak_bytes(path: Path, shape: Sequence[int], threads: int = 0) -> int | None:
    """Return the memory that loading a file and computing one batch adds to a process at its peak.

    Libraries are not counted. It is the difference of two peaks of resident memory.

    Args:
        path: The ONNX file, with an input `images`.
        shape: Shape of the batch, [B, C, S, S].
        threads: Threads of one operation; 0: as many as onnxruntime chooses.

    Returns:
        Bytes; None where the system does not report them (Linux does), or the process fails.
    """
    command = [sys.executable, "-c", _SCRIPT, json.dumps([str(path.absolute()), list(shape), threads])]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
        return 1024 * int(ended.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
