#!/bin/sh
# Makes the environment if there is none, checks style, and runs the tests with pytest's options while types are checked.
# --fast, as the first word, leaves out every test that takes long: what to run between two edits.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
export PYTHONNOUSERSITE=1
python=$(course_utils/workflow/environment.sh)
if [ "${1:-}" = --fast ]; then
    shift
    set -- -m "not slow" "$@"
fi
"$python" -m ruff check .
tests/types.sh &
types=$!
# Side by side: torch would take all cores in every one of them. Half as many again as cores, as tests wait for the
# programs that they start; with twice as many the suite took longer on two cores.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
processes=$("$python" -c 'import os; print(min(len(os.sched_getaffinity(0)) * 3 // 2, 4))')
status=0
"$python" -m pytest --numprocesses "$processes" --dist loadscope "$@" || status=$?
wait "$types" || status=$?
exit "$status"
