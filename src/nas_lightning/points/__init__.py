"""Point clouds and graphs: their search spaces, graph convolutions, supernets and networks."""

from nas_lightning.points.space import GraphSpace, PointSpace

__all__ = ["GraphSpace", "PointSpace"]
