"""What a run of the tests costs: its ten slowest tests, and whether it stays within its budget.

A budget is in seconds of the clock on two idle cores. The clock also shows what else the machine
does, so seconds of a processor decide: what takes more than twice the budget of those can't be done
on two cores within it. The clock decides as well, but only where it measured the tests alone.
"""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from . import processes

CORES = 2
MARGIN = 1.5
"""How far a budget may be passed before a run fails: no two runs take the same time."""

OTHERS = 0.1
"""The share of the processors that other processes may have while the clock still decides."""

LOOP = "import ast, json\nfor n in range(100): ast.parse(json.dumps(list(range(2_000))))"
REFERENCE = 0.5
"""Seconds of a processor that LOOP takes where the budgets were set."""

AS_ONE = 1.3
"""Two of these at once take no longer than that times one, where two cores are idle."""


def cpu_seconds() -> float:
    """Seconds of a processor that this process took, and those that it started and that ended."""
    return sum(os.times()[:4])


class Costs:
    """A plugin of pytest that adds up what each test took, in whichever process it ran.

    budget: seconds of the clock on two idle cores; 0 is no budget.
    """

    def __init__(self, config: pytest.Config, budget: float) -> None:
        self._config = config
        self._budget = budget
        self._began = time.monotonic()
        self._before = cpu_seconds()
        self._cpu: defaultdict[str, float] = defaultdict(float)
        self._clock: defaultdict[str, float] = defaultdict(float)
        self._workers = 0.0
        self._machine = Machine() if budget else None
        self._verdict = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Iterator[None]:
        """Give the report what this phase of a test took, also of what is reaped meanwhile."""
        report: Any = yield
        now = cpu_seconds()
        report.cpu_seconds = now - self._before
        self._before = now
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add a phase up."""
        self._cpu[report.nodeid] += getattr(report, "cpu_seconds", 0.0)
        self._clock[report.nodeid] += report.duration

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add up what a process of pytest-xdist took in all, imports and fixtures included."""
        self._workers += getattr(node, "workeroutput", {}).get("cpu_seconds", 0.0)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand over what this process took, or judge what all of them did."""
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["cpu_seconds"] = cpu_seconds()
        elif self._machine:
            clock = time.monotonic() - self._began
            self._verdict = self._machine.verdict(self._budget, self._total(), clock)
            if self._verdict and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the ten slowest, and the total beside its budget."""
        if not self._cpu:
            return
        terminalreporter.section("the ten slowest, in seconds of a processor (of the clock)")
        for test in sorted(self._cpu, key=self._cpu.__getitem__, reverse=True)[:10]:
            terminalreporter.write_line(f"{self._cpu[test]:6.1f} ({self._clock[test]:.1f})  {test}")
        clock = time.monotonic() - self._began
        line = f"total: {self._total():.0f} s of processors, {clock:.0f} s of the clock"
        if self._machine:
            line += f"; the budget is {self._budget:.0f} s on two idle cores"
            line += f"\n{self._machine}"
        terminalreporter.write_line(line)
        if self._verdict:
            terminalreporter.write_line(self._verdict, red=True)

    def _total(self) -> float:
        return self._workers + sum(os.times()[:2]) if self._workers else cpu_seconds()


class Machine:
    """How fast this machine is, and whether it has something else to do."""

    def __init__(self) -> None:
        self.slowness, self._two_idle_cores = calibrate()
        self._busy = busy_seconds() or 0.0
        self._packages = packages()

    def __str__(self) -> str:
        cores = "two idle cores" if self._two_idle_cores else "no two idle cores"
        return f"this machine: {self.slowness:.1f} times the reference's seconds, {cores} at first"

    def verdict(self, budget: float, cpu: float, clock: float) -> str:
        """What was passed by too much; empty where nothing was.

        cpu, clock: seconds that the run took, of processors and of the clock.
        """
        allowed = budget * MARGIN * max(self.slowness, 1.0)
        if cpu > allowed * CORES:
            return (
                f"over budget: {cpu:.0f} s of processors; at most {allowed * CORES:.0f} s here, "
                f"which is {MARGIN} times the budget of {CORES} cores"
            )
        if clock > allowed and self.clock_decides(cpu, clock):
            return (
                f"over budget: {clock:.0f} s of the clock; at most {allowed:.0f} s here, "
                f"which is {MARGIN} times the budget"
            )
        return ""

    def clock_decides(self, cpu: float, clock: float) -> bool:
        """Whether the clock measured the tests alone: no others, no downloads, and not in a CI."""
        busy = busy_seconds()
        if not self._two_idle_cores or busy is None or os.environ.get("CI"):
            return False
        others = busy - self._busy - cpu
        fetched = packages() - self._packages
        return others < OTHERS * clock * (os.cpu_count() or 1) and not fetched


def calibrate() -> tuple[float, bool]:
    """How many times the reference's seconds the work takes, and whether two cores are idle."""
    before, began = cpu_seconds(), time.monotonic()
    both = [processes.start([sys.executable, "-c", LOOP]) for _ in range(CORES)]
    for process in both:
        assert process.wait() == 0
    one = (cpu_seconds() - before) / CORES
    idle = time.monotonic() - began < one * AS_ONE
    return one / REFERENCE, idle and (os.cpu_count() or 1) >= CORES


def busy_seconds() -> float | None:
    """Seconds that all processors of this machine were busy; None where the system doesn't tell."""
    with suppress(OSError):
        first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, first[1:9])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return None


def packages() -> int:
    """How many packages uv keeps: to fetch more of them takes time that is none of the tests'."""
    with suppress(OSError, subprocess.SubprocessError):
        told = processes.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True)
        return sum(1 for _ in Path(told.stdout.strip()).glob("archive-v*/*"))
    return 0
