"""What is trained: sweeps and recipes as plain lists of configurations. Nothing here imports torch."""

from . import batchnorm, forecast, jobs, landscape, profiles, recipes, settings, sweeps
