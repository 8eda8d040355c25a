"""Checks of the exercises: ``checks.<exercise>(what you wrote)`` says whether it is right and, if not, what is amiss.

They teach; they do not guard an exam, since the package holds a reference for everything they ask.
"""

from .autodiff import divide_backward, matmul_backward, sum_backward
from .data import channel_statistics
from .engine import EXERCISES, Exercise, Mistake, NotSolvedError, Outcome
from .inside import batch_norm_backward, covariate_shift, filter_normalise, grad_cam, hessian_vector_product
from .norms import batch_norm, vgg_batch_norm

__all__ = [
    "EXERCISES",
    "Exercise",
    "Mistake",
    "NotSolvedError",
    "Outcome",
    "batch_norm",
    "batch_norm_backward",
    "channel_statistics",
    "covariate_shift",
    "divide_backward",
    "filter_normalise",
    "grad_cam",
    "hessian_vector_product",
    "matmul_backward",
    "sum_backward",
    "vgg_batch_norm",
]
