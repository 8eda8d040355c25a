"""What the source documents report, and our results beside it."""
