#!/bin/sh
# Makes the environment if there is none, checks style and types, then runs the tests with pytest's options.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
export PYTHONNOUSERSITE=1
python=$(course_utils/workflow/environment.sh)
"$python" -m ruff check .
tests/types.sh
exec "$python" -m pytest "$@"
