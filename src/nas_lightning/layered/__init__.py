"""Spaces of layers: networks whose every layer takes one of several inverted residual blocks (MobileNetV2)."""

from nas_lightning.layered.space import LayerSpace

__all__ = ["LayerSpace"]
