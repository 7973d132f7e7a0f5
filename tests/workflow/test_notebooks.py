"""A notebook is run whole or not at all, in a folder of any name; the client of its kernel misses no answer."""

import asyncio
import json
import time

import nbformat
import pytest
import zmq.asyncio
from jupyter_client.session import Session
from nbformat.v4 import new_code_cell, new_notebook
from papermill.exceptions import PapermillExecutionError

from course_utils.config import load_experiment
from course_utils.workflow import notebooks
from course_utils.workflow.notebooks import own_kernels, run_notebook


@pytest.mark.slow
def test_a_notebook_runs_in_a_folder_whose_name_has_braces_and_a_failed_one_leaves_the_older_copy(
    tmp_path, monkeypatch
):
    place = tmp_path / "{x} {0} {"
    place.mkdir()
    monkeypatch.setattr(notebooks, "NOTEBOOKS", place)
    monkeypatch.setenv("COURSE_REPORTS", str(place / "reports"))
    experiment = load_experiment("smoke", {"rank": "4"})

    def run(last: str):
        cells = [new_code_cell("profile = 'quick'\nseed = 1\noverrides = {}"), new_code_cell(last)]
        cells[0].metadata["tags"] = ["parameters"]
        kernel = {"name": "python3", "display_name": "Python", "language": "python"}
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), place / "01_data.ipynb")
        return run_notebook("01_data", experiment)

    copy = run("print(profile, seed, overrides)")
    assert nbformat.read(copy, as_version=4).cells[-1].outputs[0].text == "smoke 0 {'rank': 4}\n"
    assert str(place) not in (executed := copy.read_text("utf-8"))
    with pytest.raises(PapermillExecutionError, match=r"(?s)In \[3\].*raise ValueError.*no such thing"):
        run("raise ValueError('no such thing')")
    assert [*copy.parent.iterdir()] == [copy] and copy.read_text("utf-8") == executed


def test_an_answer_whose_signal_was_taken_away_is_read():
    """A widget's output makes nbclient send on the socket on which it waits, and that takes the signal away."""

    async def answer() -> tuple[dict, float]:
        context, session = zmq.asyncio.Context(), Session(key=b"")
        kernel, client = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        port = kernel.bind_to_random_port("tcp://127.0.0.1")
        client.connect(f"tcp://127.0.0.1:{port}")
        channel = own_kernels()().client(connection_file="").shell_channel_class(client, session)
        await client.send_multipart([b"a request"])
        identity, _ = await kernel.recv_multipart()
        waiting = asyncio.ensure_future(channel.get_msg())
        await asyncio.sleep(0.1)  # it waits
        zmq.Socket.shadow(kernel.underlying).send_multipart(
            [identity, *session.serialize(session.msg("execute_reply"))]
        )
        time.sleep(0.3)  # the answer is there, and its signal not yet read
        zmq.Socket.shadow(client.underlying).getsockopt(zmq.EVENTS)  # takes the signal, as sending does
        start = time.perf_counter()
        found = await asyncio.wait_for(waiting, 20)
        context.destroy(linger=0)
        return found, time.perf_counter() - start

    found, seconds = asyncio.run(answer())
    assert found["msg_type"] == "execute_reply" and seconds < 5, json.dumps(found, default=str)
