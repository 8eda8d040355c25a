"""``python -m cifar_course.hand``: the command line."""

from .. import start

start("hand")
