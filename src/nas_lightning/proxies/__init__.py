"""Zero-cost proxies: scores of networks before training. One idea a file."""

from nas_lightning.core.proxy import Proxy, Sample
from nas_lightning.proxies.gradient_norm import GradientNorm
from nas_lightning.proxies.macs import Macs
from nas_lightning.proxies.naswot import Naswot
from nas_lightning.proxies.parameters import Parameters
from nas_lightning.proxies.scoring import check_inputs, initialised, scores, screen
from nas_lightning.proxies.snip import Snip
from nas_lightning.proxies.synflow import Synflow

__all__ = [
    "GradientNorm",
    "Macs",
    "Naswot",
    "Parameters",
    "Proxy",
    "Sample",
    "Snip",
    "Synflow",
    "check_inputs",
    "initialised",
    "scores",
    "screen",
]
