"""Comparing what two runs left."""

import torch


def differences(a, b, where=""):
    """Nested values are equal bit for bit; the places where they are not."""
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [where]
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        return [place for key in a for place in differences(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, list | tuple):
        assert len(a) == len(b), where
        return [
            place for i, (x, y) in enumerate(zip(a, b, strict=True)) for place in differences(x, y, f"{where}[{i}]")
        ]
    return [] if a == b or (a != a and b != b) else [where]
