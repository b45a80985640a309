"""A log that nobody reads stops no service: lines are dropped and counted."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
from serving_engine.model_files.manifest import Manifest
from serving_engine.telemetry.log_handler import LogHandler, nonblocking_writer

from .models import example_row
from .service import Service, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the files of Linux")

DROPPED = ("serving_log_lines_dropped_total",)
WORKERS = [1, 2]
SOON = 15.0


class UnreadService(Service):
    """A service whose standard error is a full pipe, or closed: no line says where it listens."""

    def __init__(self, model_dir: Path, **settings: object) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        super().__init__(model_dir, "--port", str(self.port), drain_delay=0, **settings)
        self.url = f"http://127.0.0.1:{self.port}"

    def start_with(self, stderr: int, in_process: Callable[[], object] | None = None) -> Self:
        self.process = self._start(stderr, in_process)
        wait_until(self._is_ready)
        return self

    def connect(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=SOON, verify=False)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, "the service ended"
        with suppress(httpx2.ConnectError):
            return self.request("GET", "/readyz").status_code == 200
        return False


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def fill(pipe: int) -> None:
    """Write until the pipe is full."""
    other = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    for size in (65536, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(other, b"x" * size)
    os.close(other)


@pytest.mark.parametrize("workers", WORKERS)
def test_a_full_pipe_stops_nothing_and_dropped_lines_are_counted(
    model_dir: Path, manifest: Manifest, pipe: tuple[int, int], workers: int
) -> None:
    fill(pipe[1])
    service = UnreadService(model_dir, workers=workers).start_with(pipe[1])
    try:
        fill(pipe[1])
        body = {"instances": [example_row(manifest)]}
        for _ in range(10):
            assert service.request("POST", "/predict", json=body).status_code == 200
        assert service.request("GET", "/livez").status_code == 200
        wait_until(lambda: service.scrape()[DROPPED] >= 10, SOON)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(SOON) == 0
    finally:
        service.end()


@pytest.mark.parametrize("workers", WORKERS)
def test_a_service_without_standard_error_starts_serves_and_ends(
    model_dir: Path, manifest: Manifest, workers: int
) -> None:
    service = UnreadService(model_dir, workers=workers)
    service.start_with(subprocess.DEVNULL, partial(os.close, 2))
    try:
        body = {"instances": [example_row(manifest)]}
        assert service.request("POST", "/predict", json=body).status_code == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(SOON) == 0
    finally:
        service.end()


@pytest.mark.parametrize("workers", WORKERS)
def test_a_pipe_that_nobody_has_open_stops_nothing(
    model_dir: Path, manifest: Manifest, workers: int
) -> None:
    reader, writer = os.pipe()
    service = UnreadService(model_dir, workers=workers)
    try:
        service.start_with(writer, partial(os.close, reader))
        os.close(reader)
        body = {"instances": [example_row(manifest)]}
        assert service.request("POST", "/predict", json=body).status_code == 200
        wait_until(lambda: service.scrape()[DROPPED] >= 1, SOON)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(SOON) == 0
    finally:
        service.end()
        os.close(writer)


def logger_to(file: int) -> tuple[logging.Logger, LogHandler]:
    logger = logging.Logger("test", "DEBUG")
    with os.fdopen(os.dup(file), "w") as stream:
        handler = LogHandler(stream)
    logger.addHandler(handler)
    return logger, handler


def read_all(reader: int) -> bytes:
    os.set_blocking(reader, False)
    data = b""
    with suppress(BlockingIOError):
        while part := os.read(reader, 65536):
            data += part
    return data


def test_nothing_follows_a_part_of_a_line_but_its_rest(pipe: tuple[int, int]) -> None:
    """A line that is longer than PIPE_BUF may be written in parts."""
    reader, writer = pipe
    logger, handler = logger_to(writer)
    fill(writer)
    filled = len(read_all(reader))
    other = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
    os.write(other, b"y" * (filled - 4096))
    os.close(other)
    logger.info("begin" + "a" * 20_000 + "end")
    logger.info("dropped")
    assert handler.dropped == 1
    read = read_all(reader)
    logger.info("after")
    read += read_all(reader)
    assert read.lstrip(b"y") == b"begin" + b"a" * 20_000 + b"end\nafter\n"


def test_lines_are_written_again_when_the_pipe_is_read(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    logger, handler = logger_to(writer)
    fill(writer)
    logger.info("dropped")
    assert handler.dropped == 1
    read_all(reader)
    logger.info("written")
    assert read_all(reader) == b"written\n"
    assert handler.dropped == 1


def test_the_flags_of_a_shared_file_stay(pipe: tuple[int, int]) -> None:
    """A shell that has the same terminal or pipe open must not get EAGAIN."""
    logger_to(pipe[1])[0].info("written")
    assert os.get_blocking(pipe[1])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # never closed
@pytest.mark.parametrize("another_user", [False, True])
def test_no_kind_of_file_blocks_a_writer(
    another_user: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]
) -> None:
    """another_user: made the pipe, so that it cannot be opened once more."""

    def refuse(*_: Any) -> int:
        raise PermissionError

    one, other = socket.socketpair()
    file = (tmp_path / "log").open("ab")
    with one, other, file:
        if another_user:
            monkeypatch.setattr(os, "open", refuse)
        for writer in (pipe[1], one.fileno()):
            write = nonblocking_writer(writer)
            assert os.get_blocking(writer)
            with suppress(BlockingIOError):
                while write(b"x" * 300):
                    pass
        assert nonblocking_writer(file.fileno())(b"line\n") == 5
    assert (tmp_path / "log").read_bytes() == b"line\n"
