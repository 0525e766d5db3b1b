"""Converters: from the official files of benchmarks to the plain ones that this package reads. One file a converter."""

from nas_lightning.convert.base import Converter
from nas_lightning.convert.imagenet16 import ImageNet16Files
from nas_lightning.convert.nasbench201 import NasBench201File

__all__ = ["Converter", "ImageNet16Files", "NasBench201File"]
