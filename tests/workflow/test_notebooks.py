"""The client of a notebook's kernel misses no answer."""

import asyncio
import json
import time

import zmq.asyncio
from jupyter_client.session import Session

from course_utils.workflow.notebooks import own_kernels


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
