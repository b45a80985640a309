"""A plugin of pytest: quick tests first, as many as fit the time; the rest is left for later.

It runs in the environment of a project, so it knows pytest and nothing else. In the folder
`DEV_RUN` are: `seconds.json`, how long each test took before; `limit`, how many seconds this run
may take; `changed`, if a run shall end now, as its code has changed. The run writes `ran.json`: how
many tests passed and failed, and the ids of those that it did not come to.
"""

import json
import os
import sys
import time
from pathlib import Path

import pytest

QUICK = 0.2
"""Seconds: a test that took more waits for those that took less."""


class QuickFirst:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seconds: dict[str, float] = self._read("seconds.json", {})
        self._limit = time.monotonic() + self._read("limit", 0.0)
        self._passed = self._failed = 0
        self._left: list[str] = []

    def _read(self, name, default):
        path = self._folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items) -> None:
        # In the order of the files both before and after: fixtures of a module are made once.
        items.sort(key=lambda item: self._seconds.get(item.nodeid, 0) > QUICK)
        self._left = [item.nodeid for item in items]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._left.remove(nodeid)
        self._seconds[nodeid] = 0.0

    def pytest_runtest_logreport(self, report) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0) + report.duration
        self._passed += report.when == "call" and report.passed
        self._failed += report.failed

    def pytest_collectreport(self, report) -> None:
        self._failed += report.failed

    def pytest_runtest_logfinish(self) -> None:
        if time.monotonic() > self._limit or (self._folder / "changed").exists():
            self._session.shouldstop = "the rest is for later"

    def pytest_sessionstart(self, session) -> None:
        self._session = session

    def pytest_sessionfinish(self) -> None:
        ran = {"passed": self._passed, "failed": self._failed, "left": self._left}
        for name, value in (("seconds.json", self._seconds), ("ran.json", ran)):
            (self._folder / name).write_text(json.dumps(value), encoding="utf-8")


def pytest_configure(config) -> None:
    folder = Path(os.environ["DEV_RUN"])
    # What is imported from now on is compiled once, and not in the template's folders.
    sys.pycache_prefix = str(folder / "bytecode")
    sys.dont_write_bytecode = False
    config.pluginmanager.register(QuickFirst(folder))
