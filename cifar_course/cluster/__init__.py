"""Runs of a plan on every device of a machine, or in Slurm's queue."""
