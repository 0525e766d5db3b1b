"""How fast JPEG photos are loaded from folders for networks that see 224x224 pixels, and where the time goes.

Photos of ImageNet's usual size are generated: smooth colours with noise, so that files are as large as a camera's. They
are read by `data=imagenet`, as a search and as the test of a retraining do, by several numbers of processes. The steps
of one photo are those of the same transforms, one after the other. Other ways to read stand beside: with the two copies
of all pixels that PIL makes where nothing has to be turned or converted (as before; pixels must be equal),
and at a half or a quarter of the size, which larger photos allow (`draft`); those pixels are others.

Seconds of loaders are those of the clock, of steps those of the processor; sides take turns, ratios are medians.
`python -m benchmarks.photo_loading` takes about a minute on two CPU cores.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from benchmarks.measuring import add_number, new_parser, now, ratio, show, take_turns, write
from nas_lightning.data import ImageNet
from nas_lightning.data.loading import PassLoader
from nas_lightning.data.preprocessing import read_upright
from nas_lightning.data.transforms import Standardise

NAME = "photo_loading"
CPU = torch.device("cpu")


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="numbers of processes")
    add_number(parser, "photos", 192, "training photos, in two classes; as many to test on")
    add_number(parser, "batch", 32, "photos of a batch")
    add_number(parser, "image", 224, "height and width of what the network sees")
    add_number(parser, "width", 500, "width of the photos; the height is 3/4 of it")
    return parser.parse_args(words)


def write_photos(folder: Path, options: argparse.Namespace) -> list[str]:
    """The folders of a small ImageNet; the training photos."""
    rng = np.random.default_rng(0)
    size = (options.width, options.width * 3 // 4)
    paths = []
    for part in ("train", "val"):
        for number in range(options.photos):
            colours = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            smooth = np.asarray(colours.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
            photo = (smooth + rng.normal(0, 10, smooth.shape)).clip(0, 255).astype(np.uint8)
            path = folder / part / "ab"[number % 2] / f"{number:05d}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo).save(path, quality=90)
            paths += [str(path)] if part == "train" else []
    return paths


# Loaders -------------------------------------------------------------------------------------------------------------


def loader_of(data: ImageNet, part: str, options: argparse.Namespace, workers: int) -> PassLoader:
    """One pass: `train` as a search augments it, `test` as a retraining is tested; workers outlive a pass."""
    dataset = data.dataset("train" if part == "train" else "test", augment=part == "train")
    loader = PassLoader(dataset, 0, part, workers, persistent=True)
    return loader.begin(0, np.arange(options.photos), options.batch)


def measure_loaders(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Photos a second of each number of workers, and that over the first number of them; they take turns."""
    data = ImageNet(str(folder), options.image)
    rows = []
    for part in ("train", "test"):
        loaders = {workers: loader_of(data, part, options, workers) for workers in options.workers}
        rates: dict[int, list[float]] = {workers: [] for workers in options.workers}
        for loader in loaders.values():
            read(loader)  # starts the workers, and fills the cache of the file system
        for _ in range(options.rounds):
            for workers, loader in loaders.items():
                start = time.perf_counter()
                read(loader)
                rates[workers].append(options.photos / (time.perf_counter() - start))
        first = rates[options.workers[0]]
        rows += [
            {
                "row": f"{part}, {workers} workers",
                "part": part,
                "workers": workers,
                "photos_a_second": statistics.median(found),
                "ratio": ratio(found, first),
            }
            for workers, found in rates.items()
        ]
    return rows


def read(loader: PassLoader) -> None:
    for _ in loader:
        pass


# Steps ---------------------------------------------------------------------------------------------------------------


def with_copies(path: str) -> Image.Image:
    """The way of before: both calls copy an upright photo in RGB."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def measure_steps(paths: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Milliseconds of each step of a photo, and its share of all steps of its part."""
    data = ImageNet("", options.image)
    mean, std = ImageNet.mean, ImageNet.std
    rows = []
    for part, transforms in (("train", data._augmentation()), ("test", data._framing())):
        steps: list[tuple[str, Callable[[Any], Any]]] = [
            ("read, decode, turn upright", lambda p: read_upright(p, "RGB"))
        ]
        steps += [(type(step).__name__, step) for step in transforms] + [("Standardise", Standardise(mean, std))]
        seconds: dict[str, list[float]] = {name: [] for name, _ in steps}
        for _ in range(options.rounds):
            content: list[Any] = list(paths)
            for name, step in steps:
                start = now(CPU)
                content = [step(one) for one in content]
                seconds[name].append((now(CPU) - start) / len(paths))
        total = [sum(parts) for parts in zip(*seconds.values(), strict=True)]
        rows += [
            {
                "row": f"{part}: {name}",
                "part": part,
                "step": name,
                "milliseconds": 1000 * statistics.median(found),
                "share": ratio(found, total),
            }
            for name, found in seconds.items()
        ]
    return rows


def measure_ways(paths: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Milliseconds of reading a photo in other ways, and that over the way of loaders."""
    for path in paths[:8]:
        assert np.array_equal(np.asarray(with_copies(path)), np.asarray(read_upright(path, "RGB")))
    side = round(options.image * 256 / 224)
    ways: dict[str, Callable[[str], Any]] = {
        "as loaders do": lambda path: read_upright(path, "RGB"),
        "with PIL's copies": with_copies,
        f"draft, {side} pixels or more": lambda path: read_upright(path, "RGB", side),
    }
    sides = {name: lambda way=way: [way(path) for path in paths] for name, way in ways.items()}
    seconds = take_turns(sides, options.rounds, CPU)
    first = seconds["as loaders do"]
    return [
        {
            "row": f"read: {name}",
            "way": name,
            "milliseconds": 1000 * statistics.median(found) / len(paths),
            "ratio": ratio(found, first),
        }
        for name, found in seconds.items()
    ]


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        paths = write_photos(Path(name), options)
        sample = paths[:: max(1, len(paths) // 48)]
        size = sum(Path(path).stat().st_size for path in paths) / len(paths)
        loaders = measure_loaders(Path(name), options)
        steps, ways = measure_steps(sample, options), measure_ways(sample, options)
    photos = f"JPEG of {options.width}x{options.width * 3 // 4}, {size / 1000:.0f} kB, {options.image} pixels"
    show(
        f"{photos}, batches of {options.batch}: loaders",
        ("", "photos/s", f"ratio to {options.workers[0]} workers"),
        [(row["row"], row["photos_a_second"], row["ratio"]) for row in loaders],
    )
    show(
        "steps of one photo, of the processor",
        ("", "ms", "% of all steps"),
        [(row["row"], row["milliseconds"], 100 * row["share"]) for row in steps],
    )
    show("ways to read", ("", "ms", "ratio"), [(row["row"], row["milliseconds"], row["ratio"]) for row in ways])
    write(options, NAME, [*loaders, *steps, *ways])


if __name__ == "__main__":
    main(sys.argv[1:])
