"""Helpers of the CIFAR-10 / Batch Normalization course.

Images become batches, batches train a model, a training run leaves a record, and every figure is read from records.
Each folder is one step of that line; no room is imported here, so that a notebook shows what it uses.
"""

from . import moved

__version__ = "0.1.0"

moved.announce()
