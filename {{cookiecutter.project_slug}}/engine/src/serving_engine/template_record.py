"""What a project records of the template that made it: `.template.json` and `engine/SHA256SUMS`.

The template's hook runs this module by its path, so it imports nothing of the package. What it
writes depends on the template, the commit and the answers alone: cruft renders both ends of an
upgrade, and their difference is what the upgrade changes.
"""

import contextlib
import hashlib
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

RECORD = ".template.json"
CHECKSUMS = "SHA256SUMS"
"""In the engine's folder, as `sha256sum --check` reads it."""

_MAX_BYTES = 256 * 1024
_LITTER = re.compile(r"\..*_cache|__pycache__|.*\.(egg-info|pyc|rej|orig)|\.venv|\.hypothesis|dist")
_DIRTY = "-dirty"


@dataclass(frozen=True)
class TemplateRecord:
    """The template that made the project.

    template: where it came from, as git clones it: a URL, or a path of the machine that made the
    project. version: its release. commit: in full, with `-dirty` behind it where the template had
    changes that no commit has; None if it was no git repository. answers: to its questions.
    """

    template: str
    version: str
    commit: "str | None"
    answers: "dict[str, str]"

    @property
    def short(self) -> str:
        """Version and commit, for a line of a log."""
        if self.commit is None:
            return self.version
        return f"{self.version} {self.commit[:12]}{_DIRTY * self.commit.endswith(_DIRTY)}"


def write_record(project: Path, context: Mapping[str, object], checkout: Path) -> TemplateRecord:
    """Record the template in a project that it has just made.

    project: its folder. context: the answers, and what cookiecutter or cruft adds to them under
    names with `_`. checkout: the folder that the template is in, which need not exist under cruft.
    Raises OSError; ValueError if the engine has no version.
    """
    engine = project / "engine"
    version = re.search(
        r'^version = "(.+)"$', (engine / "pyproject.toml").read_text(encoding="utf-8"), re.M
    )
    if version is None:
        raise ValueError("engine/pyproject.toml has no version")
    address, commit = _origin(context, checkout)
    answers = {key: str(value) for key, value in context.items() if not key.startswith("_")}
    record = TemplateRecord(address, version[1], commit, answers)
    text = json.dumps(asdict(record), ensure_ascii=False, indent=2) + "\n"
    (project / RECORD).write_bytes(text.encode())
    lines = [f"{digest}  {name}\n" for name, digest in engine_files(engine).items()]
    (engine / CHECKSUMS).write_bytes("".join(lines).encode())
    return record


def _origin(given: Mapping[str, object], checkout: Path) -> "tuple[str, str | None]":
    """The address and the commit of a template: cruft knows both, else its clone does."""
    template, commit = str(given.get("_template") or ""), given.get("_commit")
    local = bool(template) and checkout.exists() and given.get("_repo_dir", template) == template
    if commit is None and (checkout / ".git").exists():
        commit = _git(checkout, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
        if not local:  # cookiecutter cloned it: git has the address without abbreviations
            template = _git(checkout, "config", "--get", "remote.origin.url") or template
    if local:
        template = checkout.as_posix()
    address = re.sub(r"^(https?://)[^/@]*@", r"\1", template)  # a password is nobody's business
    return address, str(commit) if commit else None


def _git(folder: Path, *words: str) -> "str | None":
    """What git says of a clone, and no other around it; None if it says nothing."""
    command = ["git", f"--git-dir={folder / '.git'}", f"--work-tree={folder}", *words]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(  # noqa: S603
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
        return said.stdout.decode().strip() or None
    return None


def read_record(project: Path) -> "TemplateRecord | None":
    """The record in a project's folder; None without one. Raises ValueError if it is invalid."""
    text = _read(project / RECORD)
    if text is None:
        return None
    try:
        record = TemplateRecord(**json.loads(text))
    except TypeError:
        raise ValueError(f"{RECORD} is no record of a template") from None
    texts = [record.template, record.version, record.commit or ""]
    texts += record.answers.values() if isinstance(record.answers, dict) else [record.answers]
    if not all(isinstance(each, str) for each in texts):
        raise ValueError(f"{RECORD} is no record of a template")
    return record


def served_record() -> "TemplateRecord | None":
    """The record in the working directory, where the model is by default too; None if it has none.

    A service does not fail for want of it.
    """
    with contextlib.suppress(OSError, ValueError):
        return read_record(Path())
    return None


def can_be_linked(record: TemplateRecord) -> bool:
    """Whether the commit is one that the template's repository can be asked for."""
    return record.commit is not None and not record.commit.endswith(_DIRTY)


def engine_files(engine: Path) -> "dict[str, str]":
    """The SHA-256 of each file of the engine, by its path in there, in order; not of litter."""
    paths = {path.relative_to(engine).as_posix(): path for path in _files(engine)}
    return {name: hashlib.sha256(paths[name].read_bytes()).hexdigest() for name in sorted(paths)}


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if _LITTER.fullmatch(path.name) or path.name in (CHECKSUMS, "uv.lock"):
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def read_checksums(engine: Path) -> "dict[str, str] | None":
    """The recorded SHA-256 of each file of the engine; None if none are. Raises ValueError."""
    text = _read(engine / CHECKSUMS)
    if text is None:
        return None
    lines = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in text.splitlines()]
    if not all(lines):
        raise ValueError(f"engine/{CHECKSUMS} is no list of checksums")
    return {line[2]: line[1] for line in lines if line}


def _read(file: Path) -> "str | None":
    """The text of a small file; None if there is none. Raises OSError; ValueError."""
    try:
        with file.open("rb") as source:
            data = source.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{file.name} is too large")
    return data.decode()
