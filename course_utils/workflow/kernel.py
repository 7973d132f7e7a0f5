"""The kernel of the notebooks that the workflow runs: ipykernel's, forked where there is a fork server."""

import runpy
import sys

from course_utils.workflow.fork_server import ask

KERNEL = "ipykernel_launcher"

if __name__ == "__main__":
    status = ask(sys.argv[1:], KERNEL)
    if status is None:
        runpy.run_module(KERNEL, run_name="__main__")
    sys.exit(status)
