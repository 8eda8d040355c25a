"""``python -m cifar_course.hand``: the command line."""

import sys

from .. import wrong_python

try:
    from .cli import main

    sys.exit(main())
except ModuleNotFoundError as error:
    sys.exit(wrong_python(error))
