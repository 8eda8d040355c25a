"""Checks of the exercises: ``checks.<exercise>(what you wrote)`` says whether it is right and, if not, what is amiss.

They teach; they do not guard an exam, since the package holds a reference for everything they ask.
"""

from ..quiz import hint
from .autodiff import divide_backward, matmul_backward, sum_backward
from .data import channel_statistics, mirror
from .engine import EXERCISES, Exercise, Mistake, NotSolvedError, Outcome
from .graded import GRADED_PROFILE, when_graded
from .inside import batch_norm_backward, covariate_shift, filter_normalise, grad_cam, hessian_vector_product
from .landscape import (
    beta_smoothness,
    direct_probe,
    effective_beta,
    gradient_cosine,
    gradient_predictiveness,
    min_max_curve,
)
from .networks import conv_cost, residual_block, swish
from .norms import batch_norm, vgg_batch_norm
from .optimizers import adam, sgd
from .training import l1_penalty, training_step
