"""The tables that come with the package: their files, and the spaces whose architectures they list.

Each is a file of `tables/` in the format of `nas_lightning.evaluation.table`, with a description that names its space.
Its name is that of the file without endings. The file NOTICE names the owners of data that are not the project's.
"""

import gzip
from collections.abc import Mapping
from functools import cache
from itertools import takewhile
from pathlib import Path

import yaml

SHIPPED = Path(__file__).parent / "tables"


@cache
def shipped_files() -> Mapping[str, Path]:
    """Return the files by the names of the tables."""
    return {path.name.split(".")[0]: path for path in sorted(SHIPPED.glob("*.csv*"))}


@cache
def shipped_spaces() -> Mapping[str, str]:
    """Return the names of the tables by the spaces whose architectures they list; only descriptions are read."""
    return {_space(path): name for name, path in shipped_files().items()}


def _space(path: Path) -> str:
    """Return the space of a table from the lines above its column names."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        lines = [line[1:].removeprefix(" ") for line in takewhile(lambda line: line.startswith("#"), file)]
    return str(yaml.safe_load("".join(lines))["space"])
