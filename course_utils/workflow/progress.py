"""Shows how the workflow gets on: one live display for a watching person, else one line a finished step."""

from __future__ import annotations

import re
import sys
import time

from course_utils.errors import refusal
from course_utils.paths import PROJECT
from course_utils.text import duration, one_line
from course_utils.workflow.estimates import OTHER_SECONDS

BAR_WIDTH = 60
NO_WORDS = "it ended without a word, as when memory or disk is used up (free -m, df -h); --cores 1 takes less memory"
PRIOR_SECONDS = 60  # how much work at the expected speed weighs against what was measured so far


class Progress:
    """Reads what Snakemake says, line by line; `total`, `done`, `failed` and `failed_rules` tell what it learned.

    expected: rule → seconds of one step on the machine where they were guessed, the basis of the time left.
    """

    def __init__(self, expected: dict[str, float], at_once: int, dry_run: bool):
        self.expected, self.at_once, self.dry_run = expected, at_once, dry_run
        self.total = 0
        self.titles: dict[str, str] = {}  # job → what it does
        self.running: dict[str, float] = {}  # job → when it began
        self.done: list[str] = []
        self.failed: list[str] = []
        self.failed_rules: set[str] = set()
        self.last_words = ""
        self._to_do = self._foreseen = self._spent = 0.0  # seconds: expected of what is left and done; measured
        self._reading_counts = False
        self._failing: str | None = None
        self._live = None

    def __enter__(self) -> Progress:
        if sys.stdout.isatty() and not self.dry_run:
            from rich.live import Live

            self._live = Live(get_renderable=self._display, refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._live.stop()

    def read(self, line: str) -> None:
        """Take note of one line."""
        line = line.rstrip()
        if line:
            self.last_words = line
        if line == "Job stats:" and not self.total:  # a dry run says it twice
            self._reading_counts = True
        elif self._reading_counts and (found := re.fullmatch(r"(\w+) +(\d+)", line)):
            self._count(found[1], int(found[2]))
        elif found := re.fullmatch(r" *Job (\d+): (.*)", line):  # indented: one of a group
            self._begin(found[1], found[2])
        elif found := re.fullmatch(r"Finished jobid: (\d+) \(Rule: (\w+)\)", line):
            self._finish(found[1], found[2])
        elif found := re.match(r"Error in rule (\w+)", line):
            self._failing = ""
            self.failed_rules.add(found[1])
        elif self._failing == "" and (found := re.fullmatch(r" +jobid: (\d+)", line)):
            self._failing = found[1]
        elif self._failing and (found := re.fullmatch(r" +log: (.*) \(check log file.*", line)):
            self._fail(self._failing, found[1])
            self._failing = None

    def reason(self) -> str:
        """Why not everything was made."""
        failures = len(self.failed)
        if failures:
            return f"{failures} {'step' if failures == 1 else 'steps'} failed"
        return (refusal(self.last_words) or self.last_words).rstrip(".")

    def _count(self, rule: str, number: int) -> None:
        if rule == "total":
            self._reading_counts = False
            self._now_left()
        elif rule != "all":
            self.total += number
            self._to_do += number * self._seconds(rule)

    def _begin(self, job: str, title: str) -> None:
        self.titles[job] = title.removesuffix(" (main)")
        self.running[job] = time.monotonic()
        if self.dry_run:
            print(f"  {len(self.titles):>3}  {self.titles[job]}")

    def _finish(self, job: str, rule: str) -> None:
        if rule == "all":
            return
        took = time.monotonic() - self.running.pop(job)
        self.done.append(job)
        self._spent += took
        self._foreseen += self._seconds(rule)
        self._to_do -= self._seconds(rule)
        self._now_left()
        self._say(f"{self._position()}  {self.titles[job]} ({duration(took)}){self._left()}")

    def _fail(self, job: str, log: str) -> None:
        self.failed.append(job)
        self.running.pop(job, None)
        file = PROJECT / log
        words = file.read_text(encoding="utf-8", errors="replace").strip().splitlines() if file.is_file() else []
        why = one_line(words[-1]).removeprefix("error: ") if words else NO_WORDS
        self._say(f"FAILED  {self.titles[job]}: {why} (see {log})")

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
