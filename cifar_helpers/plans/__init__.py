"""What is trained: budgets, sweeps and recipes as plain lists of configurations. Nothing here imports torch."""

from . import batchnorm, budgets, forecast, jobs, landscape, profiles, recipes, settings, sweeps

__all__ = ["batchnorm", "budgets", "forecast", "jobs", "landscape", "profiles", "recipes", "settings", "sweeps"]
