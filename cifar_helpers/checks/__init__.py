"""Checks of the exercises: ``checks.<exercise>(what you wrote)`` says whether it is right and, if not, what is amiss.

They teach; they do not guard an exam, since the package holds a reference for everything they ask.
"""

from .data import channel_statistics
from .engine import EXERCISES, Exercise, Mistake, NotSolvedError, Outcome
from .norms import batch_norm, vgg_batch_norm

__all__ = [
    "EXERCISES",
    "Exercise",
    "Mistake",
    "NotSolvedError",
    "Outcome",
    "batch_norm",
    "channel_statistics",
    "vgg_batch_norm",
]
