"""``python -m cifar_course.report``: the command line."""

import sys

from .cli import main

sys.exit(main())
