"""Looking inside trained networks."""

from . import attribution, curvature, explanations, features, mistakes, shift, surface, toys
