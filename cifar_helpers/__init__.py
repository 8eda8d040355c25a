"""Helpers of the CIFAR-10 / Batch Normalization course.

Images become batches, batches train a model, a training run leaves a record, and every figure is read from records.
Each module is one step of that line; nothing is imported here, so that a notebook shows what it uses.
"""

__version__ = "0.1.0"
