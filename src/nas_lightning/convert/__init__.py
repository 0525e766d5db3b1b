"""Converters from the official files of benchmarks, or one's own runs, to the plain files that this package reads."""

from nas_lightning.convert.base import Converter
from nas_lightning.convert.imagenet16 import ImageNet16Files
from nas_lightning.convert.nasbench101 import NasBench101File
from nas_lightning.convert.nasbench201 import NasBench201File
from nas_lightning.convert.runs import Runs

__all__ = ["Converter", "ImageNet16Files", "NasBench101File", "NasBench201File", "Runs"]
