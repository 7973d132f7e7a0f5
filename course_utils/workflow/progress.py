"""Shows how the workflow gets on: one live display for a watching person, else one line a finished step."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.errors import refusal
from course_utils.paths import PROJECT
from course_utils.text import counted, duration, one_line
from course_utils.workflow.estimates import OTHER_SECONDS

if TYPE_CHECKING:
    from rich.live import Live

BAR_WIDTH = 60
NO_WORDS = "it ended without a word, as when memory or disk is used up (free -m, df -h); --cores 1 takes less memory"
PRIOR_SECONDS = 60  # how much work at the expected speed weighs against what was measured so far


class Progress:
    """Takes the events of Snakemake's jobs; `total`, `done`, `failed` and `failed_rules` tell what it learned.

    expected: rule → seconds of one step on the machine where they were guessed, the basis of the time left.
    """

    def __init__(self, expected: dict[str, float], at_once: int, dry_run: bool):
        self.expected, self.at_once, self.dry_run = expected, at_once, dry_run
        self.total = 0
        self.rules: dict[int, str] = {}  # job → its rule
        self.titles: dict[int, str] = {}  # job → what it does
        self.running: dict[int, float] = {}  # job → when it began
        self.done: list[int] = []
        self.failed: set[int] = set()
        self.error = ""  # what Snakemake said of no job
        self._to_do = self._foreseen = self._spent = 0.0  # seconds: expected of what is left and done; measured
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if sys.stdout.isatty() and not self.dry_run:
            from rich.live import Live

            self._live = Live(get_renderable=self._display, refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._live.stop()

    def take(self, event: dict) -> None:
        """Take note of one event, as the logger plugin tells it."""
        match event["event"]:
            case "run_info" if not self.total:  # a dry run says it twice
                self._count(event["stats"])
            case "job_info" if event["rule_msg"]:  # the rule that stands for all others has no message
                self._begin(event["jobid"], event["rule_name"], event["rule_msg"])
            case "job_finished" if event["job_id"] in self.running:
                self._finish(event["job_id"])
            case "job_error":
                self._fail(event["jobid"], event["log"])
            case "error":
                self.error = event["message"]

    @property
    def failed_rules(self) -> set[str]:
        """Rules of the jobs that failed."""
        return {self.rules[job] for job in self.failed}

    def reason(self, log: Path) -> str:
        """Why not everything was made; `log` is Snakemake's own, which alone knows what came before its first event."""
        if self.failed:
            return f"{counted(len(self.failed), 'step')} failed"
        words = self.error or _last_line(log)
        return (refusal(words) or one_line(words)).rstrip(".")

    def _count(self, jobs: dict[str, int]) -> None:
        for rule, number in jobs.items():
            if rule not in ("all", "total"):
                self.total += number
                self._to_do += number * self._seconds(rule)
        self._now_left()

    def _begin(self, job: int, rule: str, title: str) -> None:
        self.rules[job] = rule
        self.titles[job] = title.removesuffix(" (main)")
        self.running[job] = time.monotonic()
        self.failed.discard(job)  # it is tried again
        if self.dry_run:
            print(f"  {len(self.titles):>3}  {self.titles[job]}")

    def _finish(self, job: int) -> None:
        took, expected = time.monotonic() - self.running.pop(job), self._seconds(self.rules[job])
        self.done.append(job)
        self._spent += took
        self._foreseen += expected
        self._to_do -= expected
        self._now_left()
        self._say(f"{self._position()}  {self.titles[job]} ({duration(took)}){self._left()}")

    def _fail(self, job: int, logs: list[str]) -> None:
        self.failed.add(job)
        self.running.pop(job, None)
        why = one_line(_last_line(PROJECT / logs[0])).removeprefix("error: ") or NO_WORDS
        self._say(f"FAILED  {self.titles[job]}: {why} (see {logs[0]})")

    def _seconds(self, rule: str) -> float:
        return self.expected.get(rule, OTHER_SECONDS)

    def _now_left(self) -> None:
        slower = (self._spent + PRIOR_SECONDS) / (self._foreseen + PRIOR_SECONDS)
        self._end = time.monotonic() + slower * self._to_do / self.at_once

    def _left(self) -> str:
        seconds = self._end - time.monotonic()
        return f", about {duration(seconds)} left" if len(self.done) < self.total and seconds > 0 else ""

    def _position(self) -> str:
        return f"[{len(self.done):>{len(str(self.total))}}/{self.total}]"

    def _say(self, line: str) -> None:
        if self._live:
            self._live.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)

    def _display(self):
        from rich.text import Text

        if not self.total:
            return Text("Looking for what is not up to date …")
        full = BAR_WIDTH * len(self.done) // self.total
        now = time.monotonic()
        running = "".join(f"\n  {self.titles[job]} … {duration(now - began)}" for job, began in self.running.items())
        return Text.assemble(
            f"{len(self.done)} of {self.total} steps done{self._left()}\n",
            ("━" * full, "green"),
            ("━" * (BAR_WIDTH - full), "dim"),
            running,
        )


def _last_line(log: Path) -> str:
    """The last line of `log` with something on it."""
    words = log.read_text(encoding="utf-8", errors="replace").strip() if log.is_file() else ""
    return words.rpartition("\n")[2]
