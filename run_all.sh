#!/bin/sh
# Makes the environment if there is none, then runs the workflow; ./run_all.sh --help lists the options.
set -eu
COURSE_FROM=$PWD
export COURSE_FROM
cd "$(dirname "$0")"
# What set-up installs is compiled by the first import of it, once, and kept.
unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
export PYTHONNOUSERSITE=1 PYTHONUTF8=1
python=$(course_utils/workflow/environment.sh)
exec "$python" -m course_utils run "$@"
