"""Load the exported network of this folder in two ways and compare them: python load.py."""

from pathlib import Path

import torch

FOLDER = Path(__file__).parent


def from_program() -> torch.nn.Module:
    """Load the traced program; needs only PyTorch."""
    return torch.export.load(FOLDER / "network.pt2").module()


def from_weights() -> torch.nn.Module:
    """Rebuild the network, to train it further or to change it; needs nas_lightning."""
    from nas_lightning.deployment import TrainedNetwork

    trained = TrainedNetwork.load(FOLDER)
    network = trained.build()
    network.load_state_dict(torch.load(FOLDER / "weights.pt", weights_only=True))
    return trained.normalising(network).eval()  # images from 0 to 1 → logits, or a number


if __name__ == "__main__":
    import json

    card = json.loads((FOLDER / "network.json").read_text(encoding="utf-8"))
    images = torch.rand(3, card["in_channels"], card["image_size"], card["image_size"])
    with torch.no_grad():
        outputs, others = from_program()(images), from_weights()(images)
    print(f"largest difference: {(outputs - others).abs().max():.2e}")
    names = card["class_names"]
    print([names[index] for index in outputs.argmax(dim=1)] if names else outputs[:, 0].tolist())
