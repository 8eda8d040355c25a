#!/bin/bash
# Everything that half an hour on one GPU should bring, in the order of its worth, with a summary at the end:
#   batch/half_hour.sh                             # from the course folder; three calls of ten minutes bring the same:
#   batch/half_hour.sh --minutes 9.5               # again and again: what is done is skipped
#   PROFILE=smoke DEVICE=cpu batch/half_hour.sh    # a rehearsal in minutes, on drawn shapes
# DATA and JOBS too stand for the options of their names (--help). COURSE_PYTHON names another Python than .venv's.
set -u
cd "$(dirname "$0")/.." || exit 2
python=${COURSE_PYTHON:-.venv/bin/python}
command -v "$python" >/dev/null || { echo "No Python at $python: set COURSE_PYTHON to one that has torch." >&2; exit 2; }
exec "$python" -m cifar_course.cluster.half_hour ${PROFILE:+--profile "$PROFILE"} ${DATA:+--data "$DATA"} \
  ${DEVICE:+--device "$DEVICE"} ${JOBS:+--jobs "$JOBS"} "$@"
