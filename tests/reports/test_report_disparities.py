"""The picture of pairs: its error is that of known pixels, both disparities share their colours, and it is written."""

import numpy as np
from matplotlib.image import imread

from nas_lightning.reports.disparities import draw_disparities, save_disparities


def test_a_picture_has_a_row_a_pair_and_the_error_of_known_pixels(tmp_path):
    rng = np.random.default_rng(0)
    left = rng.random((2, 8, 16, 3), dtype=np.float32)
    truth = rng.uniform(1, 5, (2, 8, 16)).astype(np.float32)
    predicted = truth + 0.75
    truth[0, 0, :3], truth[1, 2, 2] = np.nan, np.inf
    axes = draw_disparities(left, truth, predicted).axes[:8]
    assert [panel.get_title(loc="left") for panel in axes[3::4]] == ["error, 0.75 px on average"] * 2
    error = axes[3].images[0].get_array()
    assert int(error.mask.sum()) == 3
    np.testing.assert_allclose(error.compressed(), 0.75, rtol=1e-5)
    assert axes[1].images[0].get_clim() == axes[2].images[0].get_clim()
    path = save_disparities(left, truth, predicted, tmp_path / "plots")
    assert path == tmp_path / "plots/disparity.png"
    assert imread(path).std() > 0
