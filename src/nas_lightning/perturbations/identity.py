"""No perturbation: the weights train at the unchanged mixing weights."""

from nas_lightning.core.perturbation import Perturbation


class Identity(Perturbation):
    """Leaves the mixing weights unchanged."""
