"""Methods in spaces of layers: they run, or they are refused in one line."""

import pytest

from every_method import LAYERED, METHODS, run
from layered_toy import SMALLEST


@pytest.mark.parametrize("method", ["noisy_darts", "gdas", "sgas", "darts_es", "pc_darts"])
def test_methods_of_every_kind(method, tiny, tmp_path):
    """All methods are in `make test-all`."""
    run(method, "mobilenet_small", [*tiny, *SMALLEST], tmp_path / "run")


@pytest.mark.parametrize("method", ["noisy_darts", "darts_plus"])
def test_methods_with_outer_shortcuts(method, tiny, tmp_path):
    run(method, "proxyless", [*tiny, *SMALLEST], tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("space", LAYERED)
@pytest.mark.parametrize("method", METHODS)
def test_every_method(method, space, tiny, tmp_path):
    run(method, space, [*tiny, *SMALLEST], tmp_path / "run")
