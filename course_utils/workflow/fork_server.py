"""One process that imports what every run and every notebook needs, and forks for each, to save the imports.

The workflow starts the server. The steps of the workflow (`python -m course_utils train`, ...) and the kernels of the
notebooks (kernel.py) find the server's socket in COURSE_FORK_SERVER. They let the server run the same command, with
their directory, environment, standard output and error. Without a fork server the steps work alone, with the same
numbers.
"""

import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

SOCKET = "COURSE_FORK_SERVER"  # where it listens; unset where there is none
FORKED = "COURSE_FORKED"  # id of the process that a server has forked, which does the work itself
LONGEST_ADDRESS = 103  # bytes of a socket's name that every system takes; TMPDIR may be longer


@contextmanager
def fork_server(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """A server for the commands that run in the yielded environment; the server does not outlive this process."""
    with tempfile.TemporaryDirectory(prefix="course-") as folder:
        address = str(Path(folder) / "socket")
        if len(os.fsencode(address)) > LONGEST_ADDRESS:
            yield environment
            return
        environment = environment | {SOCKET: address}
        # No threads before a fork: a child would wait for the locks of threads that it does not have.
        alone = environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-m", __name__]
        # The server reads the end of its standard input when this process has ended in any way.
        with subprocess.Popen(command, env=alone, stdin=subprocess.PIPE, start_new_session=True) as server:
            try:
                yield environment
            finally:
                server.terminate()


def ask(arguments: list[str], module: str = "course_utils") -> int | None:
    """Exit status of `python -m module` with these `arguments`, run by the server; None if there is none here."""
    if os.environ.get(FORKED) == str(os.getpid()):
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(os.environ[SOCKET])
        except (KeyError, OSError):  # started by hand, or on another machine than the server
            return None
        request = {"module": module, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], [1, 2])
        status = connection.recv(1)
    return status[0] if status else 1  # the process that did the work is gone


def serve(address: str) -> None:
    """Fork for every request that comes to `address`, until standard input ends; import at the first."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
        while listening in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            with suppress(Exception):  # the child meets the same error, and reports it to the reader
                _import_what_all_need()
            if os.fork() == 0:
                try:
                    listening.close()
                    _answer(connection)
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(0)
            connection.close()


def _import_what_all_need() -> None:
    """Import the slow modules, but not matplotlib, which reads from the environment of its kernel how to draw.

    The code of the runs is identified here as well: what was imported makes them, whatever changes later.
    """
    ours = ["training.train", "training.evaluation", "comparison.weights"]
    theirs = ["typer", "nbformat", "scipy.stats", "sklearn.metrics", "statsmodels.stats.proportion"]
    for name in [*(f"course_utils.{module}" for module in ours), *theirs]:
        importlib.import_module(name)
    from course_utils.code_identity import code_of
    from course_utils.methods import METHODS
    from course_utils.tasks import TASKS

    for method, task in product(METHODS, TASKS):
        code_of(method, task)


def _answer(connection: socket.socket) -> None:
    """Do what was asked for, in the place of the process that asked."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, outputs, *_ = socket.recv_fds(connection, 65536, 2)
    while not request.endswith(b"\n"):
        if not (more := connection.recv(65536)):
            return  # the process that asked is gone
        request += more
    for descriptor, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, descriptor)
    request = json.loads(request)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"] | {FORKED: str(os.getpid())})
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()

    sys.argv, status = [request["module"], *request["arguments"]], 0
    try:
        runpy.run_module(request["module"], run_name="__main__")
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([status]))


def _end_with(connection: socket.socket) -> None:
    """End this process when the one that asked is gone."""
    connection.recv(1)
    os._exit(1)


if __name__ == "__main__":
    serve(os.environ[SOCKET])
