"""Point clouds: their search space, its graph convolutions, its supernet and its networks."""

from nas_lightning.points.space import PointSpace

__all__ = ["PointSpace"]
