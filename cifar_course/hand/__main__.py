"""``python -m cifar_course.hand``: the command line."""

import sys

from .cli import main

sys.exit(main())
