"""Looking inside trained networks."""

from . import attribution, curvature, features, mistakes, shift, surface, toys

__all__ = ["attribution", "curvature", "features", "mistakes", "shift", "surface", "toys"]
