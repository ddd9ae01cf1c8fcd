"""Deployment: merge norms and separable convolutions into the form that a chip or CPU runs."""

from .reparameterize import FORMS, find_unmerged, reparameterize

__all__ = ['FORMS', 'find_unmerged', 'reparameterize']
