"""The owner's tests where little is allowed: no HOME, no network, a project that is read-only."""

import shutil
import sys
from pathlib import Path

import pytest

from . import processes
from .conftest import passed, source_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces are of Linux"),
]

ISOLATED = ["unshare", "--user", "--map-root-user", "--mount", "--net"]

# In its own namespaces: lo goes up, as in a container; the project becomes read-only, which file
# modes do not achieve for root.
LOCK_DOWN = """
import fcntl, os, socket, struct, subprocess, sys
project, *command = sys.argv[1:]
with socket.socket() as any_socket:
    flags = fcntl.ioctl(any_socket, 0x8913, struct.pack("16sh14x", b"lo", 0))  # SIOCGIFFLAGS
    (old,) = struct.unpack_from("h", flags, 16)
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", old | 1))  # SIOCSIFFLAGS, IFF_UP
subprocess.run(["mount", "--bind", project, project], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", project], check=True)
try:
    open(f"{project}/written", "w")
    sys.exit("the project is not read-only")
except OSError:
    pass
os.chdir(project)
os.execv(command[0], command)
"""


def test_the_owners_tests_pass_without_home_network_and_a_writable_project(
    environment: Path, project: Path, tmp_path: Path
) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("this machine has no unshare")
    if processes.run([*ISOLATED, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine permits no namespaces")
    copy = tmp_path / project.name
    shutil.copytree(
        project, copy, ignore=shutil.ignore_patterns(".venv", ".*_cache", "__pycache__")
    )
    writable = tmp_path / "tmp"
    writable.mkdir()
    python = environment / "python"
    ended = processes.run(
        [*ISOLATED, python, "-c", LOCK_DOWN, copy, python, "-m", "pytest", "-q"],
        env={
            "PATH": f"{environment}:/usr/bin:/bin",
            "TMPDIR": writable,
            "PYTHONPATH": source_of(copy),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    passed(ended)
    assert " passed" in ended.stdout
    assert "skipped" not in ended.stdout
