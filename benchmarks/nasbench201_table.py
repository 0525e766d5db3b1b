"""Write the table of NAS-Bench-201 that comes with the package.

`python -m benchmarks.nasbench201_table TABLE.csv.gz` reads what `task=convert convert=nasbench201` makes of the
official file, and replaces `src/nas_lightning/evaluation/tables/nasbench201.csv.gz`. Equal tables give equal files.
Dropped: the names of the architectures, which follow from their order, after comparing them all; single seeds; and
validation accuracies after 200 epochs, which not every table has.
"""

import argparse
import csv
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas_lightning.evaluation.contents import header
from nas_lightning.evaluation.shipped import SHIPPED
from nas_lightning.spaces.nasbench201 import arch_strings

SETS = ("cifar10", "cifar100", "in16_120")
DECIMALS = {
    **{f"{name}_test_200": 4 for name in SETS},
    **{f"{name}_{part}_12": 4 for name in SETS for part in ("valid", "test")},
    "params_M_c10": 6,
}
"""The columns and their decimals."""
CONTENTS = {
    "space": "nasbench201",
    "key": "arch_str",
    "recipe": "nasbench201",
    "numbered": True,
    "about": {
        "source": "NAS-Bench-201, Xuanyi Dong and Yi Yang, ICLR 2020, https://github.com/D-X-Y/NAS-Bench-201",
        "license": "MIT, see NOTICE",
        "rows": "the architectures 0 to 15624 of the benchmark",
        "accuracies": "percent, mean over the seeds of each training, rounded to 4 decimals",
        "params_M_c10": "parameters of the network for CIFAR-10 in millions, to 6 decimals",
    },
}


def compact(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the text of the table.

    Args:
        rows: One an architecture, in the benchmark's order, with `arch_str` and the columns of `DECIMALS`.

    Raises:
        ValueError: The architectures are not all in that order, or a cell is no number.
    """
    names = arch_strings()
    if len(rows) != len(names):
        raise ValueError(f"{len(rows)} rows, not {len(names)}")
    lines = [",".join(DECIMALS)]
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        if row["arch_str"] != name:
            raise ValueError(f"row {number} is {row['arch_str']}, not {name}")
        lines.append(",".join(f"{round(float(row[column]), d):.9g}" for column, d in DECIMALS.items()))
    return header(CONTENTS) + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="the table of task=convert convert=nasbench201, gzipped or not")
    parser.add_argument("--target", type=Path, default=SHIPPED / "nasbench201.csv.gz", help="where it is written")
    arguments = parser.parse_args()
    data = arguments.table.read_bytes()
    text = (gzip.decompress(data) if arguments.table.suffix == ".gz" else data).decode()
    # Without a time stamp, equal tables are equal files.
    arguments.target.write_bytes(gzip.compress(compact(list(csv.DictReader(text.splitlines()))).encode(), mtime=0))
    print(f"written: {arguments.target}, {arguments.target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
