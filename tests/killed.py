"""Programs in processes of their own, which tests kill."""

import os
import sys
from pathlib import Path

from conftest import TINY_SIZES

ROOT = Path(__file__).parents[1]
PROGRAM = [sys.executable, str(ROOT / "run.py")]
SMALL = [
    "space=s3",
    "space.num_nodes=2",
    "trainer=cpu",
    *(word for word in TINY_SIZES if "batch_size" not in word and "epochs" not in word),
    "search.batch_size=8",
    "evaluation.batch_size=16",
    "search.epochs=6",
    "evaluation.epochs=4",
]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
