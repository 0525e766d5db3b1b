"""No perturbation: the weights train on the mixing weights as they are."""

from nas_lightning.core.perturbation import Perturbation


class Identity(Perturbation):
    """Leaves the mixing weights alone."""
