"""``python -m cifar_course.report``: the command line."""

from .. import start

start("report")
