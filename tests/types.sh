#!/bin/sh
# Checks the package's types with mypy, by [tool.mypy] in pyproject.toml. The checker has an environment of its own,
# .venv.types, so that it changes none that a user has; it is installed from the package index on first need.
set -eu
cd "$(dirname "$0")/.."
python=$(course_utils/workflow/environment.sh)
wanted=tests/requirements-types.txt
if ! cmp -s "$wanted" .venv.types/requirements.txt; then
    rm -rf .venv.types
    if ! { "$python" -m venv .venv.types && .venv.types/bin/python -m pip install --quiet -r "$wanted"; } >&2; then
        rm -rf .venv.types
        echo "mypy could not be installed from the package index: types are not checked." >&2
        [ -z "${CI:-}" ] # continuous integration goes no further without it
        exit
    fi
    cp "$wanted" .venv.types/requirements.txt
fi
exec .venv.types/bin/mypy --python-executable "$python" "$@"
