"""A run of the tests fails when its budget is passed, and never because the machine is loaded."""

import sys
from pathlib import Path

import pytest

from . import budget, processes
from .conftest import ROOT, clean_environment

REPORT = "the ten slowest, in seconds of a processor"


def test_a_run_fails_beyond_its_budget_and_names_what_took_long() -> None:
    test = Path(__file__).with_name("mutation") / "test_breaking.py"
    ended = processes.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "layout", "--budget=0.001", test],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout
    assert REPORT in ended.stdout
    assert "1 passed" in ended.stdout
    assert "over budget: " in ended.stdout


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> budget.Machine:
    """Two idle cores as fast as those of the reference, which fetched nothing."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(budget.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(budget, "calibrate", lambda: (1.0, True))
    monkeypatch.setattr(budget, "busy_seconds", lambda: 0.0)
    monkeypatch.setattr(budget, "packages", lambda: 0)
    return budget.Machine()


@pytest.mark.parametrize(
    ("cpu", "clock", "over"),
    [
        (180, 90, ""),
        (181, 90, "of processors; at most 180 s"),
        (20, 91, "of the clock; at most 90 s"),
    ],
)
def test_a_budget_may_be_passed_by_half(
    machine: budget.Machine, cpu: float, clock: float, over: str
) -> None:
    verdict = machine.verdict(60, cpu, clock)
    assert over in verdict
    assert bool(over) == bool(verdict)


def test_a_slow_machine_has_more_time(machine: budget.Machine) -> None:
    machine.slowness = 2.0
    assert not machine.verdict(60, 360, 180)
    assert machine.verdict(60, 361, 180)


def test_a_fast_machine_has_no_less(machine: budget.Machine) -> None:
    machine.slowness = 0.5
    assert not machine.verdict(60, 180, 90)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("busy_seconds", lambda: 40.0),  # others' 20, and these tests' own
        ("busy_seconds", lambda: None),  # no such file
        ("packages", lambda: 1),
    ],
)
def test_the_clock_decides_nothing_where_it_measures_something_else(
    machine: budget.Machine, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    assert machine.verdict(60, 20, 91)
    monkeypatch.setattr(budget, name, value)
    assert not machine.verdict(60, 20, 91)


def test_the_clock_decides_nothing_in_a_ci_nor_without_two_idle_cores(
    machine: budget.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    assert not machine.verdict(60, 20, 91)
    monkeypatch.delenv("CI")
    monkeypatch.setattr(budget, "calibrate", lambda: (1.0, False))
    assert not budget.Machine().verdict(60, 20, 91)
