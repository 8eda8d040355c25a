"""Figures: a function takes records or arrays and returns the figure."""

from . import autograd, batchnorm, batchnorm_drawings, diagrams, inside, intuition, landscape, style, sweeps, training
from .style import LN10, NETWORKS, file_of, label_of, network_name, save, save_film, save_table

__all__ = [
    "LN10",
    "NETWORKS",
    "autograd",
    "batchnorm",
    "batchnorm_drawings",
    "diagrams",
    "file_of",
    "inside",
    "intuition",
    "label_of",
    "landscape",
    "network_name",
    "save",
    "save_film",
    "save_table",
    "style",
    "sweeps",
    "training",
]
