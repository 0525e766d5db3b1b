"""Label photos, or predict a number, with the exported network of this folder: python predict.py PHOTO [PHOTO…|FOLDER].

Needs Python 3.10, onnxruntime, numpy and Pillow, and the file network.onnx beside this one; nothing else. Classes and
preprocessing stand in the metadata of that file. Images are read as in training: upright by their EXIF data, first
frame only, pixels of more than 8 bits on one scale, transparency over one background, then resized and cropped.

Exit codes: 0 all images are labelled; 1 some cannot be read; 2 the command is wrong or a package is missing.
"""

import argparse
import csv
import json
import os
import stat
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

try:
    import numpy as np
    from PIL import Image, ImageOps
except ModuleNotFoundError as missing:
    sys.exit(f"predict.py: needs {missing.name}; pip install onnxruntime numpy pillow")

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"),
)
JUNK = (
    *("__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
)
DAMAGED = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow raises for damaged files."""
BATCH = 32


class UsageError(Exception):
    """The command cannot be carried out; its text is one line."""


@dataclass(frozen=True)
class Rules:
    """The steps from a file to pixels, as `nas_lightning.data.preprocessing.Preprocessing` describes them."""

    in_channels: int
    size: int
    resize: Any
    shrink_on_decode: bool = False
    white: float | None = None
    background: int = 255


def read(path: str, rules: Rules) -> np.ndarray:
    """Return one image: float32 [in_channels, size, size] from 0 (black) to 1 (white).

    Raises:
        ValueError: The file cannot be read, or its pixels are beyond white.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # opening a pipe would wait for ever
            raise ValueError("it is not a regular file")
        with Image.open(path) as image:
            if rules.shrink_on_decode and isinstance(rules.resize, int):
                image.draft("RGB", (rules.resize, rules.resize))
            found = in_8_bits(image, rules)
        pixels = np.asarray(middle(resized(found, rules.resize), rules.size))
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot read the image {path} ({reason}); repair or remove it") from error
    channels_first = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return channels_first.astype(np.float32) / np.float32(255)


def in_8_bits(image: Image.Image, rules: Rules) -> Image.Image:
    """Return an image upright, in 8 bits of grey or RGB."""
    mode = "L" if rules.in_channels == 1 else "RGB"
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return from_deep(image, rules).convert(mode)
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        level = rules.background
        image = Image.alpha_composite(Image.new("RGBA", image.size, (level, level, level, 255)), image)
    return image.convert(mode)


def from_deep(image: Image.Image, rules: Rules) -> Image.Image:
    """Return pixels of more than 8 bits, or real ones, as 8 bits of grey."""
    white = rules.white or (1.0 if image.mode == "F" else 65535.0)
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= white):  # also if either is nan
        raise ValueError(f"its pixels go from {low:g} to {high:g}, allowed: 0 (black) to {white:g} (white)")
    if high > 0 and round(high * 255 / white) == 0:
        raise ValueError(f"its pixels reach {high:g} only, of {white:g} (white), so all would be black")
    levels = np.rint(values * (255 / white)).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        levels[values == transparent] = rules.background
    return Image.fromarray(levels)


def resized(image: Image.Image, resize: Any) -> Image.Image:
    """Resize the shorter side to `resize` pixels, or stretch to its two numbers, height and width."""
    width, height = image.size
    if isinstance(resize, int):
        longer = int(resize * max(width, height) / min(width, height))
        size = (resize, longer) if width <= height else (longer, resize)
    else:
        size = (resize[1], resize[0])
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def middle(image: Image.Image, side: int) -> Image.Image:
    """Cut out the middle square."""
    left, top = (round((length - side) / 2) for length in image.size)
    return image.crop((left, top, left + side, top + side))


def image_files(names: Sequence[str]) -> list[str]:
    """Return the given files, and those of the given folders at any depth, sorted, without hidden ones."""
    found: list[str] = []
    for name in names:
        if Path(name).is_dir():
            inside = sorted(files_below(name))
            if not inside:
                raise UsageError(f"{name}: there are no images in this folder; read are {' '.join(EXTENSIONS)}")
            found += inside
        elif Path(name).exists():
            found.append(name)
        else:
            raise UsageError(f"{name}: there is no such file or folder; give a photo or a folder of photos")
    return found


def files_below(folder: str) -> Iterator[str]:
    """Yield image files at any depth, unsorted; linked folders are left out."""

    def refuse(error: OSError) -> NoReturn:
        raise UsageError(f"{error.filename}: the folder cannot be listed ({error.strerror}); make it readable")

    for at, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not junk(name)]
        for name in files:
            path = Path(at, name)
            if not junk(name) and name.lower().endswith(EXTENSIONS) and path.is_file():
                yield str(path)


def junk(name: str) -> bool:
    """Return whether a file or folder is hidden, or left behind by a system."""
    return name.startswith(".") or name.casefold() in JUNK


class Network:
    """A network.onnx file of `task=export`, its classes and its preprocessing.

    Raises:
        UsageError: The file is missing, damaged or without preprocessing, or onnxruntime is missing.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file; put it beside predict.py, or give --network FILE")
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError(f"needs {error.name or error}; pip install onnxruntime numpy pillow") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            about = self.session.get_modelmeta().custom_metadata_map
            self.classes: list[str] | None = json.loads(about["classes"])  # none: it predicts a number
            self.unit = about.get("unit", "")
            rules = json.loads(about["preprocessing"])
        except KeyError as error:
            raise UsageError(f"{path}: its metadata lacks {error}; give a file that task=export wrote") from error
        except Exception as error:  # onnxruntime raises many kinds for a damaged file
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"{path}: cannot be loaded ({reason}); export the network again") from error
        if rules is None:
            raise UsageError(f"{path}: its preprocessing is unknown; feed its input `images` from your own program")
        self.rules = Rules(**rules)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return the probabilities [B, K] of images [B, C, S, S], or the numbers [B, 1]."""
        logits = self.session.run(None, {"images": images})[0].astype(np.float64)
        if self.classes is None:
            return logits
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def label(self, paths: Sequence[str], top: int) -> Iterator[tuple[str, list[tuple[str, float]], str]]:
        """Yield path, the `top` most probable classes with their probabilities, and the error of each file.

        Of a number, its unit and the number take their place.
        """
        for start in range(0, len(paths), BATCH):
            read_or_error = [self._attempt(path) for path in paths[start : start + BATCH]]
            images = [image for image in read_or_error if not isinstance(image, str)]
            rows = iter(self.probabilities(np.stack(images)) if images else ())
            for path, image in zip(paths[start : start + BATCH], read_or_error, strict=True):
                if isinstance(image, str):
                    yield path, [], image
                    continue
                row = next(rows)
                if self.classes is None:
                    yield path, [(self.unit, float(row[0]))], ""
                    continue
                best = np.argsort(-row, kind="stable")[:top]
                yield path, [(self.classes[k], float(row[k])) for k in best], ""

    def _attempt(self, path: str) -> np.ndarray | str:
        try:
            return read(path, self.rules)
        except ValueError as error:
            return str(error)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; python predict.py PHOTO [PHOTO…|FOLDER] --top 3")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def cells(network: Network, best: Sequence[tuple[str, float]], top: int) -> list[str]:
    """Return the cells of one image in a table."""
    if network.classes is None:
        return [f"{value:.6g}" for _, value in best] or [""]
    found = [cell for label, p in best for cell in (label, f"{p:.6f}")]
    return [*found, *[""] * (2 * top - len(found))]


def words(network: Network, best: Sequence[tuple[str, float]]) -> str:
    """Return what was found in one image, for people."""
    if network.classes is None:
        return f"{best[0][1]:.6g} {network.unit}".rstrip()
    return ", ".join(f"{label} {p:.3f}" for label, p in best)


def main(given_words: Sequence[str] | None = None) -> int:
    """Carry out a command; return its exit code.

    Raises:
        UsageError: It cannot be carried out.
    """
    parser = _Parser(prog="predict.py", description="Label photos with the network of this folder.")
    parser.add_argument("images", nargs="+", metavar="PHOTO|FOLDER", help="image files, and folders of them")
    parser.add_argument(
        "--top", type=_count, default=1, metavar="N", help="most probable classes per image (default 1)"
    )
    parser.add_argument("--csv", action="store_true", help="print a table with the columns of task=predict")
    default = Path(__file__).with_name("network.onnx")
    parser.add_argument("--network", type=Path, default=default, metavar="FILE", help="network.onnx by default")
    given = parser.parse_args(given_words)
    network = Network(given.network)
    paths = image_files(given.images)
    top = min(given.top, len(network.classes or [""]))
    table = csv.writer(sys.stdout, lineterminator="\n")
    if given.csv:
        names = [f"{name}{'' if k == 0 else f'_{k + 1}'}" for k in range(top) for name in ("label", "probability")]
        table.writerow(["path", *(names if network.classes else ["value"]), "error"])
    broken = 0
    for path, best, error in network.label(paths, top):
        broken += bool(error)
        if given.csv:
            table.writerow([path, *cells(network, best, top), error])
        elif error:
            print(f"predict.py: {error}", file=sys.stderr)
        else:
            print(f"{path}: {words(network, best)}")
    if broken and given.csv:
        print(f"predict.py: {broken} of {len(paths)} cannot be read; see the column error", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="PIL")  # on damaged EXIF data and very large images, which are read
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names may be no text
    try:
        sys.exit(main())
    except UsageError as error:
        print(f"predict.py: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python reports it again at its exit
        sys.exit(130)
