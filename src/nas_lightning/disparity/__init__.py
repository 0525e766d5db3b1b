"""Disparity estimation: its search space, its supernet and its networks, which read pairs of images."""

from nas_lightning.disparity.space import DisparitySpace

__all__ = ["DisparitySpace"]
