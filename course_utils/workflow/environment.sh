#!/bin/sh
# Prints the Python to run the course with: finds one that is new enough, and lets environment.py do the rest.
for python in "${VIRTUAL_ENV:-none}/bin/python" "${CONDA_PREFIX:-none}/bin/python" \
    python3.11 python3.12 python3.13 python3 python; do
    if "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" -I "$(dirname "$0")/environment.py"
    fi
done
echo "Python 3.11 or newer is needed and none was found on the PATH; install one from python.org or your system's packages." >&2
exit 1
