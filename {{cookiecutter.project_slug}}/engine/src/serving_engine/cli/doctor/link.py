"""Links a project to the template that made it, so that cruft upgrades it."""

import json
from pathlib import Path

from ...errors import UsageError
from ...template_record import RECORD, TemplateRecord, can_be_linked, read_record

CRUFT = ".cruft.json"

_BY_HAND = "Link it by hand: `cruft link`, as docs/upgrade.md says."


def link(project: Path) -> TemplateRecord:
    """Write `.cruft.json` as `cruft create` would have, from what is recorded, without a network.

    Raises UsageError if nothing is recorded that cruft can use, or the file is there already.
    """
    try:
        record = read_record(project)
    except ValueError as error:
        raise UsageError(f"{error}. Restore it: git restore {RECORD}") from None
    if record is None:
        raise UsageError(f"there is no {RECORD} in this folder. {_BY_HAND}")
    if not can_be_linked(record):
        raise UsageError(f"{RECORD} names no commit that its repository has. {_BY_HAND}")
    state = {
        "template": record.template,
        "commit": record.commit,
        "checkout": None,
        "context": {
            "cookiecutter": {
                **record.answers,
                "_template": record.template,
                "_commit": record.commit,
            }
        },
        "directory": None,
    }
    text = json.dumps(state, ensure_ascii=False, indent=2) + "\n"
    try:
        with (project / CRUFT).open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{CRUFT} is there: the project is linked already.") from None
    return record


def read_link(project: Path) -> dict[str, object] | None:
    """Template, commit and answers of `.cruft.json`, as the record names them; None without one.

    Raises ValueError if it is invalid.
    """
    try:
        state = json.loads((project / CRUFT).read_text(encoding="utf-8"))
        answers = state["context"]["cookiecutter"]
        public = {key: value for key, value in answers.items() if not key.startswith("_")}
        return {"template": state["template"], "commit": state["commit"], "answers": public}
    except FileNotFoundError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(f"{CRUFT} is no file of cruft's") from None
