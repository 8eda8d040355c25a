"""One training run: its configuration, loop, probes and record."""
