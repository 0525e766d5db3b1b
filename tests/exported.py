"""Exports of small networks that were never trained."""

import torch

import nas_lightning as nl
from nas_lightning.deployment import write_export

CLASSES = ("cat", "a dog", "fünf, 5", "x")


def describe(preprocessing, channels=None):
    if preprocessing is not None:
        channels = preprocessing.in_channels
    return nl.TrainedNetwork(
        space={"_target_": "nas_lightning.spaces.NasBench201Space"},
        genotype=nl.Genotype.from_arch_str(
            "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|nor_conv_3x3~2|"
        ).to_dict(),
        num_classes=len(CLASSES),
        in_channels=channels,
        image_size=16 if preprocessing is None else preprocessing.size,
        init_channels=4,
        layers=1,
        stem="cifar",
        class_names=CLASSES,
        mean=(0.4, 0.5, 0.45)[:channels],
        std=(0.2, 0.25, 0.3)[:channels],
        preprocessing=preprocessing,
        data="made up",
    )


def random_network(trained):
    """A network of random weights whose classes differ from image to image."""
    torch.manual_seed(0)
    network = trained.build().eval()
    # Few channels average most of an image away; without a scale all images would have nearly the same probabilities.
    images = torch.randn(64, trained.in_channels, trained.image_size, trained.image_size)
    with torch.no_grad():
        logits = network(images)
        network.classifier.weight *= 1 / logits.std(0).mean()
        network.classifier.bias -= network(images).mean(0)
    return network


def export(folder, preprocessing, channels=3, onnx=True):
    """An export of such a network."""
    trained = describe(preprocessing, channels)
    write_export(trained, random_network(trained), folder, onnx)
    return folder
