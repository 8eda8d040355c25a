"""What runs the course: report, batch execution, student edition, hand-in. ``cifar_helpers`` never imports it."""
