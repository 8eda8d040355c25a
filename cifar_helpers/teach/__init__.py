"""Questions, checks and widgets of the notebooks."""
