"""Shows the progress of the workflow: a live display at a terminal, otherwise one line per finished step."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from course_utils.errors import refusal
from course_utils.paths import PROJECT
from course_utils.text import counted, duration, one_line
from course_utils.workflow.estimates import OTHER_SECONDS

NO_WORDS = "it ended without a message, as when memory or disk is used up (free -m, df -h); --cores 1 takes less memory"
PRIOR_SECONDS = 60  # how much work at the expected speed weighs against what was measured so far


class Progress:
    """Takes the events of Snakemake's jobs; `total`, `done`, `failed` and `failed_rules` tell what it learned.

    expected: rule → seconds of one step on the machine where they were estimated, the basis of the time left; found:
    rule → the function that gives, in lines, what a finished step of the rule found.
    """

    def __init__(
        self, expected: dict[str, float], at_once: int, dry_run: bool, found: dict[str, Callable[[], list[str]]]
    ):
        self.expected, self.at_once, self.dry_run, self.found = expected, at_once, dry_run, found
        self.total = self.done = 0
        self.rules: dict[int, str] = {}  # job → its rule
        self.titles: dict[int, str] = {}  # job → what it does
        self.failed: set[int] = set()
        self.error = ""  # what Snakemake said of no job
        self._running: dict[int, tuple] = {}  # job → its bar, and when it began
        self._to_do = self._foreseen = self._spent = 0.0  # seconds: expected of what is left and done; measured
        columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
        self._bars = Bars(*columns, transient=True, disable=dry_run or not sys.stdout.isatty())
        self._all = self._bars.add_task("Looking for what is not up to date", total=None)

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, *_) -> None:
        self._bars.stop()

    def take(self, event: dict) -> None:
        """Take note of one event, as the logger plugin tells it."""
        match event["event"]:
            case "run_info" if not self.total:  # a dry run says it twice
                for rule, number in event["stats"].items():
                    if rule not in ("all", "total"):
                        self.total += number
                        self._to_do += number * self._seconds(rule)
            case "job_info" if event["rule_msg"]:  # the rule that stands for all others has no message
                self._begin(event["jobid"], event["rule_name"], event["rule_msg"])
            case "job_finished" if event["job_id"] in self._running:
                self._finish(event["job_id"])
            case "job_error":
                self._fail(event["jobid"], event["log"])
            case "error":
                self.error = event["message"]
        if self.total:
            said = f"{self.done} of {self.total} steps done{self._left()}"
            self._bars.update(self._all, description=said, completed=self.done, total=self.total)

    @property
    def failed_rules(self) -> set[str]:
        """Rules of the jobs that failed."""
        return {self.rules[job] for job in self.failed}

    @property
    def failed_chapters(self) -> set[str]:
        """Names of the notebooks that failed."""
        return {self.titles[job].rpartition(" ")[2] for job in self.failed if self.rules[job] == "notebook"}

    def reason(self, log: Path) -> str:
        """Why not everything was made; only Snakemake's own `log` holds what happened before its first event."""
        if self.failed:
            return f"{counted(len(self.failed), 'step')} failed"
        words = self.error or _last_line(log)
        return (refusal(words) or one_line(words)).rstrip(".")

    def _begin(self, job: int, rule: str, title: str) -> None:
        self.rules[job], self.titles[job] = rule, title.removesuffix(" (main)")
        self._running[job] = self._bars.add_task(self.titles[job], total=None), time.monotonic()
        self.failed.discard(job)  # it is tried again
        if self.dry_run:
            self._say(f"  {len(self.titles):>3}  {self.titles[job]}")

    def _finish(self, job: int) -> None:
        took, expected = self._end(job), self._seconds(self.rules[job])
        self.done += 1
        self._spent += took
        self._foreseen += expected
        self._to_do -= expected
        position = f"[{self.done:>{len(str(self.total))}}/{self.total}]"
        self._say(f"{position}  {self.titles[job]} ({duration(took)}){self._left()}")
        for line in self.found.get(self.rules[job], list)():
            self._say(f"  {line}")

    def _fail(self, job: int, logs: list[str]) -> None:
        self.failed.add(job)
        if job in self._running:
            self._end(job)
        why = one_line(_last_line(PROJECT / logs[0])).removeprefix("error: ") or NO_WORDS
        self._say(f"FAILED  {self.titles[job]}: {why} (see {logs[0]})")

    def _end(self, job: int) -> float:
        """Remove the bar of `job`; returns the seconds that the job took."""
        bar, began = self._running.pop(job)
        self._bars.remove_task(bar)
        return time.monotonic() - began

    def _seconds(self, rule: str) -> float:
        return self.expected.get(rule, OTHER_SECONDS)

    def _left(self) -> str:
        slower = (self._spent + PRIOR_SECONDS) / (self._foreseen + PRIOR_SECONDS)
        return f", about {duration(slower * self._to_do / self.at_once)} left" if self.done < self.total else ""

    def _say(self, line: str) -> None:
        self._bars.console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _last_line(log: Path) -> str:
    """The last line of `log` with something on it."""
    words = log.read_text(encoding="utf-8", errors="replace").strip() if log.is_file() else ""
    return words.rpartition("\n")[2]
