"""Models in the form that runs: norms and separable convolutions merged. Models do not know it."""

from .reparameterize import FORMS, reparameterize

__all__ = ['FORMS', 'reparameterize']
