"""A real pair with its truth: Middlebury's motorcycle, as scikit-image ships it, to test on beside the pairs of a run.

Source: Scharstein et al., Middlebury stereo 2014. The truth belongs to the left image and is infinite where it is not
known; a point at x is at x − d in the right image, whatever the documentation of scikit-image says.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas_lightning.data.stereo import Stereo
from nas_lightning.data.stereo_files import known, read_image, reduced

FILES = ("motorcycle_left.png", "motorcycle_right.png", "motorcycle_disp.npz")


def motorcycle(reach: float, multiple: int) -> Stereo | None:
    """Return the pair, reduced and cut for a network.

    Args:
        reach: Largest disparity that the network sees, in pixels; the pair is reduced until it has no larger one.
        multiple: What rows and columns must be a multiple of.

    Returns:
        Left and right image in [0, 1], [3, H, W] each, and disparities [1, H, W], NaN where they are not known; None
        where scikit-image is not installed or ships without it, or the reduced pair is smaller than `multiple`.
    """
    # Read as files: `skimage.data` may download what it lacks.
    spec: Any = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return None
    paths = [Path(spec.submodule_search_locations[0]) / "data" / name for name in FILES]
    if not all(path.is_file() for path in paths):
        return None
    with np.load(paths[2]) as content:
        truth = np.asarray(content[content.files[0]], dtype=np.float32)
    disparity = known(torch.from_numpy(truth)[None], FILES[2])
    largest = float(disparity.nan_to_num(0).max())
    factor = max(1, -(-int(np.ceil(largest)) // max(1, int(reach))))
    left, right, disparity = reduced(read_image(paths[0]), read_image(paths[1]), disparity, factor)
    height, width = (side // multiple * multiple for side in disparity.shape[1:])
    if min(height, width) == 0:
        return None
    return left[:, :height, :width], right[:, :height, :width], disparity[:, :height, :width]
