"""The releases that upgrades are rehearsed from: of each, what a project is rendered from.

`python -m tests.kept_releases` keeps the commit that is checked out, as the version of
pyproject.toml; `--check TAG` compares it with what is kept under the name of a tag.
"""

import argparse
import io
import lzma
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

from . import processes

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "releases"
PARTS = ["cookiecutter.json", "hooks", "samples", "templates", "{{cookiecutter.project_slug}}"]


def versions() -> list[str]:
    """The releases that are kept, oldest first."""
    names = [path.name.removesuffix(".tar.xz") for path in FOLDER.glob("*.tar.xz")]
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def unpack(version: str, folder: Path) -> None:
    """Put the template of a release into a folder."""
    with tarfile.open(FOLDER / f"{version}.tar.xz") as archive:
        archive.extractall(folder, filter="data")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", metavar="TAG", help="compare with what is kept of this tag")
    tag = parser.parse_args().check
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = settings["project"]["version"]
    archive = git_archive("HEAD")
    file = FOLDER / f"{version}.tar.xz"
    if tag is None:
        file.write_bytes(lzma.compress(archive, preset=9 | lzma.PRESET_EXTREME))
        print(f"kept {file.relative_to(ROOT)}, {file.stat().st_size} bytes")
        return 0
    if (
        tag == f"v{version}"
        and file.exists()
        and members(lzma.decompress(file.read_bytes())) == members(archive)
    ):
        return 0
    print(f"{tag}: tests/releases/ has something else. `python -m tests.kept_releases` keeps it.")
    return 1


def git_archive(commit: str) -> bytes:
    command = ["git", "archive", "--format=tar", commit, *PARTS]
    return processes.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def members(archive: bytes) -> dict[str, bytes]:
    """The files of a tar archive: their content."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {
            member.name: opened.extractfile(member).read()
            for member in opened.getmembers()
            if member.isfile()
        }


if __name__ == "__main__":
    sys.exit(main())
