"""Loads the shadow model for all workers, after a child process has tried it.

A shadow that crashes, hangs or starts threads, which a fork does not copy, does so in the child.
"""

import gc
import os
import select
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import ModelError, ServiceExit, as_exception
from ..model_files.read_artifact import private_folder
from ..runtimes.base import LoadedModel
from ..text import reason
from .fork import other_threads

MAX_MESSAGE = 4000

Load = Callable[[], LoadedModel]


def try_to_load(load: Load, timeout: float) -> Load:
    """Return what returns the loaded model, or raises why it cannot be loaded.

    timeout: seconds for the trial.
    """
    problem = _trial(load, timeout)
    if not problem:
        try:
            loaded = load()
        except Exception as error:
            problem = _text(error)
        else:
            return lambda: loaded

    def fail() -> LoadedModel:
        raise ModelError(problem)

    return fail


def _trial(load: Load, timeout: float) -> str:
    """Load the model in a child; return what is wrong, or an empty string."""
    try:
        folder = private_folder()
    except (ModelError, OSError) as error:
        return _text(error)
    try:
        return _problem_in_child(load, timeout, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _problem_in_child(load: Load, timeout: float, folder: Path) -> str:
    """See `_trial`. folder: for the temporary files of the child, which may be killed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        message = "it ended its process"
        try:
            tempfile.tempdir = str(folder)
            message = _problem(load)
        finally:
            os.write(writer, message.encode()[:MAX_MESSAGE] or b"\n")
            os._exit(0)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], timeout)
        message = os.read(reader, MAX_MESSAGE).decode(errors="replace") if ready else ""
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if not ready:
        return f"loading took longer than {timeout:g} s"
    return message.strip() if message else "its process crashed while it was loaded"


def _problem(load: Load) -> str:
    gc.disable()
    try:
        load()
    except BaseException as error:
        return _text(error)
    threads = other_threads()
    if threads:
        return (
            f"a library of it has started threads ({', '.join(threads)}), which a fork does not "
            "copy. Set SERVING_WORKERS=1."
        )
    return ""


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, ServiceExit) else reason(as_exception(error))
