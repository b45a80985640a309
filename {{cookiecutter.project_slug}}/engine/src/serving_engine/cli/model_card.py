"""The command `model card`: a page about the model in Markdown, which its owner completes."""

import argparse
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..service import Service
from ..settings import CARD, load_settings

if TYPE_CHECKING:
    from ..model_files.manifest import Manifest
    from ..schema.signature import Column

BEGIN = "<!-- made by `model card`: it replaces what is between these two lines -->"
END = "<!-- end of what `model card` makes: what follows is yours -->"

OWN = """
## Intended use

Who should use its predictions, for which decisions, and for which not.

## Training data

Where the rows come from, when they were collected, and whom they leave out.

## Evaluation

On which data, by which measure, with which result; for which groups it is worse.

## Limits and risks

What it gets wrong, what that costs, and who is told.

## Contact

Who answers questions about it.
"""


def add_card(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> argparse.ArgumentParser:
    """Add the command, and return its parser."""
    card = commands.add_parser(
        "card",
        help="write a page about the model, which you complete",
        description="Write a model card in Markdown: what the manifest says of provenance, "
        "signature, probes and examples, then sections for you to complete. Run it again after "
        "`model package`: what you wrote stays.",
    )
    card.add_argument(
        "--output", type=Path, metavar="FILE", help=f"default: {CARD} in the model directory"
    )
    card.add_argument(
        "--replace",
        action="store_true",
        help="write over a file that this command has not written, and over your sections",
    )
    card.set_defaults(run=_card)
    return card


def _card(service: Service, options: argparse.Namespace) -> None:
    from ..errors import UsageError
    from ..model_files.manifest import read_manifest

    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    manifest = read_manifest(settings.model_dir)
    path: Path = options.output or settings.model_dir / CARD
    made = "\n".join([BEGIN, *card_lines(manifest), END])
    try:
        old = path.read_text(encoding="utf-8") if path.exists() and not options.replace else None
        text = f"{made}\n{OWN}" if old is None else _with_old(made, old)
        if text is None:
            raise UsageError(
                f"{path} lacks the two lines between which this command writes. Choose another "
                "file with --output, or write over it with --replace."
            )
        _write(path, text)
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8. Choose another file with --output.") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}.") from None
    print(f"wrote {path}")


def _with_old(made: str, old: str) -> str | None:
    """The old card with another part from the manifest; None if it has no such part."""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + made + after if begin and end else None


def _write(path: Path, text: str) -> None:
    """Replace a file at once: a card that is served is never half written. Raises OSError."""
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(partial).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def card_lines(manifest: "Manifest") -> Iterator[str]:
    """What the manifest says, in Markdown."""
    import json

    signature = manifest.signature
    yield f"# {prose(manifest.name)} {prose(manifest.version)}"
    yield ""
    if manifest.description:
        yield f"{prose(manifest.description)}\n"
    yield "| | |\n|---|---|"
    yield f"| task | {signature.task} |"
    yield f"| license | {prose(manifest.license) or 'not given'} |"
    yield f"| packaged | {manifest.created:%Y-%m-%d %H:%M} UTC |"
    if manifest.source is not None:
        source = manifest.source
        yield f"| packaged file | {prose(source.file)}, SHA-256 `{source.sha256}` |"
    artifact = manifest.artifact
    records = artifact.records
    yield f"| format | {artifact.format}, {artifact.total_size} bytes in {len(records)} file(s) |"
    libraries = ", ".join(f"{prose(name)} {prose(of)}" for name, of in manifest.built_with.items())
    yield f"| built with | {libraries} |"
    yield "\n## Inputs\n"
    yield "| column | type | null | observed when it was packaged |\n|---|---|---|---|"
    for column in signature.inputs:
        nullable = "yes" if column.nullable else "no"
        yield f"| {prose(column.name)} | {column.dtype} | {nullable} | {_observed(column)} |"
    yield "\n## Outputs\n"
    labels = signature.classes or signature.outputs
    yield (
        f"{signature.task}"
        + (f" of {_listed(labels)}" if labels else "")
        + (", with probabilities." if signature.probabilities else ".")
    )
    probes = manifest.probes
    yield "\n## What was tested when it was packaged\n"
    yield f"* Several threads get the same answers: {_yes(probes.thread_safe)}."
    yield f"* A row gets the same answer alone and in a batch: {_yes(probes.row_independent)}."
    yield f"* Forked processes may share it: {_yes(probes.fork_safe)}."
    yield (
        f"* Every start repeats {len(manifest.examples)} examples, within "
        f"{manifest.tolerance.relative:g} relative and {manifest.tolerance.absolute:g} absolute."
    )
    yield "\n## An example\n"
    example = manifest.examples[0].model_dump()
    yield "```json\n" + json.dumps(example, ensure_ascii=False, indent=2) + "\n```"


def prose(text: str) -> str:
    """A text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_\[\]<>&#|~$])", r"\\\1", " ".join(text.split()))


def _observed(column: "Column") -> str:
    enforced = ", others are refused" if column.enforce else ""
    if column.categories is not None:
        return _listed(column.categories) + enforced
    if column.minimum is not None and column.maximum is not None:
        return f"{column.minimum:g} to {column.maximum:g}{enforced}"
    return ""


def _listed(values: Sequence[object], most: int = 20) -> str:
    shown = ", ".join(prose(str(value)) for value in values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
