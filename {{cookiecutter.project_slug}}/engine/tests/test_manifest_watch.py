"""What `serve --watch` takes for another model."""

import shutil
import time
from pathlib import Path

import pytest
from serving_engine.process.manifest_watch import SETTLE_TIMEOUT, ManifestWatch

from . import corruptions
from .models import package_iris


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float = 1.5) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def own(model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_dir, tmp_path / "own"))


@pytest.fixture
def watch(own: Path, clock: Clock) -> ManifestWatch:
    watch = ManifestWatch(own)
    clock.turn()
    assert not watch.changed()
    clock.turn()
    return watch


def test_a_copy_that_writes_the_manifest_first_counts_when_it_is_complete(
    own: Path, watch: ManifestWatch, clock: Clock, tmp_path: Path
) -> None:
    other = package_iris(tmp_path / "other" / "model", version="2")
    data = (other / "model.skops").read_bytes()
    corruptions.replace_artifact(data + b" ")(other)  # another size than the old one
    data = (other / "model.skops").read_bytes()
    shutil.copy(other / "manifest.json", own)
    for part in (b"", data[:100], data[:2000]):
        if part:
            (own / "model.skops").write_bytes(part)
        assert not watch.changed()
        clock.turn(SETTLE_TIMEOUT - 1)
    (own / "model.skops").write_bytes(data)
    assert watch.changed()
    clock.turn()
    assert not watch.changed()


def test_an_artifact_of_the_same_size_is_not_taken_for_the_other(
    own: Path, watch: ManifestWatch, clock: Clock
) -> None:
    data = (own / "model.skops").read_bytes()
    changed = data[:-1] + bytes([data[-1] ^ 1])
    corruptions.replace_artifact(changed)(own)
    (own / "model.skops").write_bytes(data)
    assert not watch.changed()
    (own / "model.skops").unlink()
    (own / "model.skops").write_bytes(changed)
    clock.turn()
    assert watch.changed()


def test_an_invalid_manifest_counts_after_a_while(
    own: Path, watch: ManifestWatch, clock: Clock
) -> None:
    (own / "manifest.json").write_text("{")
    assert not watch.changed()
    clock.turn(SETTLE_TIMEOUT + 1)
    assert watch.changed()
