"""Docker, or podman; and a base image where none can be pulled."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DOCKERFILE = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}" / "Dockerfile"
PINNED = re.compile(r"python:[\d.]+-slim@sha256:[0-9a-f]{64}")
"""The base image as the Dockerfile names it."""
BASE = "python:{}-slim"

# podman's images are kept here, apart from the user's own.
STORE = Path.home() / ".cache" / "cookiecutter-model-serving"

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

# How this machine reaches a package index. Goes into the stand-in image and no further.
INDEX_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "UV_DEFAULT_INDEX")


class Engine:
    """Docker. Called with a command of it, returns what that printed."""

    name = "docker"
    prefix: tuple[str, ...] = ("docker",)
    build_flags: tuple[str, ...] = ()
    run_flags: tuple[str, ...] = ()

    def __call__(self, *command: str, must_work: bool = True) -> str:
        done = run(self.line(*command))
        if must_work and done.returncode:
            raise SystemExit(f"FAILED: {self.name} {' '.join(command)}\n{done.stdout}")
        return done.stdout

    def line(self, *command: str) -> list[str]:
        """The whole command line."""
        return [*self.prefix, *command]

    def build(self, project: Path, image: str, *, must_work: bool = True) -> bool:
        """Build the image of a project. Returns whether that worked."""
        flags = [*self.build_flags, f"--file={self.dockerfile(project)}", f"--tag={image}"]
        done = run(self.line("build", *flags, str(project)))
        if must_work and done.returncode:
            raise SystemExit(f"FAILED: the build of the image\n{done.stdout}")
        return done.returncode == 0

    def dockerfile(self, project: Path) -> Path:
        """The Dockerfile of a project."""
        return project / "Dockerfile"

    def image_config(self, image: str) -> dict[str, Any]:
        """The configuration of an image."""
        (found,) = json.loads(self("image", "inspect", image))
        # podman has the health check beside the configuration.
        return {"Healthcheck": found.get("Healthcheck"), **found["Config"]}

    def exit_status(self, container: str) -> int | None:
        """The exit status of a container; None as long as it runs."""
        (found,) = json.loads(self("container", "inspect", container))
        return None if found["State"]["Running"] else int(found["State"]["ExitCode"])

    def clean_up(self, image: str) -> None:
        """Remove an image; what speeds up the next build stays."""
        self("image", "rm", "--force", image, must_work=False)


class Podman(Engine):
    """podman as root, held to what Docker does."""

    name = "podman"
    # Its own image format has no health check.
    build_flags = ("--format=docker", "--isolation=chroot", "--network=host")
    # Its read-only root has a writable /tmp and /run, and its limits may be above the machine's.
    run_flags = (
        *("--read-only-tmpfs=false", "--no-healthcheck"),
        *("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"),
    )

    def __init__(self) -> None:
        self.prefix = ("podman", f"--root={STORE}/images", f"--runroot={STORE}/run")
        self.base: str | None = None
        if shutil.which("runc"):
            self.prefix += ("--runtime=runc",)

    def dockerfile(self, project: Path) -> Path:
        """The Dockerfile of a project, which names the stand-in if there is one."""
        if self.base is None:
            return super().dockerfile(project)
        text = super().dockerfile(project).read_text(encoding="utf-8")
        path = STORE / "Dockerfile"
        path.write_text(PINNED.sub(self.base, text), encoding="utf-8")
        return path

    def clean_up(self, image: str) -> None:
        """Remove an image and its layers. (The store is ours: nothing in it is a user's.)"""
        super().clean_up(image)
        self("image", "prune", "--force")

    def stand_in_for_the_base(self) -> None:
        """Build on a stand-in, which is made now unless there is one."""
        self.base = BASE.format(stand_in_version())
        self.name = f"podman, on a stand-in for {self.base}"
        self.build_flags += ("--pull=never",)
        if run(self.line("image", "exists", self.base)).returncode:
            print("making a stand-in for the base image, with debootstrap", flush=True)
            make_stand_in(self, self.base)


def find_engine() -> Engine:
    """Docker if its daemon answers, else podman, with a stand-in if it can pull no base image."""
    if shutil.which("docker") and run(["docker", "info"]).returncode == 0:
        return Engine()
    if not shutil.which("podman"):
        sys.exit("needs Docker, or podman and runc")
    podman = Podman()
    (pinned,) = PINNED.findall(DOCKERFILE.read_text(encoding="utf-8"))
    if run(podman.line("pull", pinned)).returncode:
        podman.stand_in_for_the_base()
    return podman


def stand_in_version() -> str:
    """The Python that this machine's release of Debian has."""
    if not shutil.which("debootstrap") or os.geteuid() != 0:
        sys.exit("cannot pull the base image; a stand-in for it needs Debian, debootstrap and root")
    policy = run(["apt-cache", "show", "--no-all-versions", "python3"]).stdout
    version = next(line for line in policy.splitlines() if line.startswith("Version: "))
    return ".".join(version.removeprefix("Version: ").split(".")[:2])


def make_stand_in(podman: Podman, name: str) -> None:
    """Import a Debian tree with Python as an image of that name."""
    release = Path("/etc/os-release").read_text(encoding="utf-8").partition("VERSION_CODENAME=")[2]
    with tempfile.TemporaryDirectory(dir=STORE) as scratch:
        tree = Path(scratch, "tree")
        packages = "--include=ca-certificates,python3,python3-pip,python3-venv"
        bootstrap = ["debootstrap", "--variant=minbase", packages, release.split()[0], str(tree)]
        if run(bootstrap).returncode:
            sys.exit(f"debootstrap failed: {' '.join(bootstrap)}")
        like_the_official_image(tree)
        run(["tar", "--create", f"--directory={tree}", f"--file={scratch}/tree.tar", "."])
        settings = {name: os.environ[name] for name in INDEX_SETTINGS if name in os.environ}
        settings |= {"SSL_CERT_FILE": CERTIFICATES, "PIP_CERT": CERTIFICATES}
        changes = [f"--change=ENV {name}={value}" for name, value in settings.items()]
        podman("import", *changes, f"{scratch}/tree.tar", name)


def like_the_official_image(tree: Path) -> None:
    """Make `python` and pip work as there, without bytecode; trust whom this machine trusts."""
    (tree / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for path in [*tree.glob("usr/lib/python3*/EXTERNALLY-MANAGED"), *tree.glob("usr/lib/**/*.pyc")]:
        path.unlink()
    bundle = Path(os.environ.get("SSL_CERT_FILE", CERTIFICATES))
    if bundle.exists():
        shutil.copyfile(bundle, tree / CERTIFICATES.lstrip("/"))
    if Path("/etc/pip.conf").exists():
        shutil.copyfile("/etc/pip.conf", tree / "etc/pip.conf")


def run(line: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command; what it says on either stream is in `stdout`."""
    return subprocess.run(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
