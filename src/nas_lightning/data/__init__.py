"""Images, point clouds, graphs, stereo pairs, texts, their splits, and randomness that is a pure function of keys."""

from nas_lightning.data.arrays import Arrays
from nas_lightning.data.base import ImageData
from nas_lightning.data.benchmark_split import benchmark_split
from nas_lightning.data.bible import Bible
from nas_lightning.data.digits import Digits
from nas_lightning.data.folders import ImageFolder, ImageNet
from nas_lightning.data.grammar import Grammar
from nas_lightning.data.graphs import GraphData, GraphDigits
from nas_lightning.data.imagenet16 import ImageNet16
from nas_lightning.data.keyed import KeyedDataset, order
from nas_lightning.data.mnist5k import Mnist5k
from nas_lightning.data.modelnet import ModelNet
from nas_lightning.data.points import PointClouds, PointData, PointDigits
from nas_lightning.data.ppi import Ppi
from nas_lightning.data.search_subsets import drawn_subsets, listed_subsets
from nas_lightning.data.splits import SearchSplit, search_split
from nas_lightning.data.stereo import StereoData, StereoPairs, StereoScenes
from nas_lightning.data.stereo_folders import StereoFolder, StereoTorchvision
from nas_lightning.data.text import Text, TextData
from nas_lightning.data.textures import Textures
from nas_lightning.data.torchvision_sets import Cifar10, Cifar100, Svhn
from nas_lightning.data.transforms import Cutout

__all__ = [
    "Arrays",
    "Bible",
    "Cifar10",
    "Cifar100",
    "Cutout",
    "Digits",
    "Grammar",
    "GraphData",
    "GraphDigits",
    "ImageData",
    "ImageFolder",
    "ImageNet",
    "ImageNet16",
    "KeyedDataset",
    "Mnist5k",
    "ModelNet",
    "PointClouds",
    "PointData",
    "PointDigits",
    "Ppi",
    "SearchSplit",
    "StereoData",
    "StereoFolder",
    "StereoPairs",
    "StereoScenes",
    "StereoTorchvision",
    "Svhn",
    "Text",
    "TextData",
    "Textures",
    "benchmark_split",
    "drawn_subsets",
    "listed_subsets",
    "order",
    "search_split",
]
