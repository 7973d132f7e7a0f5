"""A logger plugin for Snakemake: tells `workflow.start` about the jobs, one JSON object per line, through a pipe.

`workflow.start` puts this folder's parent on the path, and the pipe's descriptor into COURSE_EVENTS.
"""

import json
import os
import signal

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

TOLD = {  # event → what is told of it
    LogEvent.RUN_INFO: ("stats",),
    LogEvent.JOB_INFO: ("jobid", "rule_name", "rule_msg"),
    LogEvent.JOB_FINISHED: ("job_id",),
    LogEvent.JOB_ERROR: ("jobid", "log"),
    LogEvent.ERROR: ("message",),
}


class LogHandler(LogHandlerBase):
    """Writes events to the pipe, beside Snakemake's own log."""

    writes_to_stream = writes_to_file = needs_rulegraph = False
    has_filter = has_formatter = True  # it needs none

    def emit(self, record):
        event = getattr(record, "event", None)
        if event not in TOLD:
            return
        told = {"event": event.value} | {name: getattr(record, name) for name in TOLD[event]}
        try:
            os.write(int(os.environ["COURSE_EVENTS"]), json.dumps(told).encode() + b"\n")
        except BrokenPipeError:  # the start was killed: begin no further job
            os.kill(os.getpid(), signal.SIGTERM)
