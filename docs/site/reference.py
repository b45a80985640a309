"""The pages of the reference that are made from the code of the engine.

Imports of the engine need pydantic-settings, prometheus_client and orjson, and nothing else.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving_engine.cli.main import build_parser
from serving_engine.errors import RequestError, UsageError
from serving_engine.model_files.manifest import Manifest
from serving_engine.service import Service
from serving_engine.settings import PREFIX, ServingSettings, load_settings
from serving_engine.telemetry import exposition

from .docstrings import name_items
from .public_names import public_names, subclasses

INVALID = "\0"
"""A value that no setting takes."""


class DefaultService(Service):
    """The service whose commands are described, with the engine's settings alone."""

    def import_settings(self) -> type[ServingSettings]:
        return ServingSettings


class Reference:
    """The pages, by the names of their files. engine: the folder `serving_engine`."""

    def __init__(self, engine: Path) -> None:
        self.pages: dict[str, str] = {
            "settings.md": settings(),
            "metrics.md": metrics(),
            "errors.md": errors(engine),
            "exit-codes.md": exit_codes(engine),
            "command-line.md": command_line(),
            "manifest.md": manifest(),
            "python.md": public_names(engine),
        }
        self._anchors = {
            f"{PREFIX}{name}".upper(): f"settings.md#{PREFIX}{name}".lower()
            for name in ServingSettings.model_fields
        }
        for family in metric_families():
            name = sample_name(family)
            self._anchors[name] = f"metrics.md#{name}"

    def link_names(self, text: str, folder: str) -> str:
        """The text with a link at each name of a setting or a metric that is marked as code.

        folder: where the reference is from there. Within the reference, names are links unmarked
        too.
        """
        marked = r"`(\w+)`"
        names = marked if folder else rf"{marked}|(?<![\w/{{`])((?:SERVING|serving)_\w+)"
        left = r"^#[^\n]*$|^ *```.*?^ *```$|\[[^\]]*\]\([^)]*\)"

        def link(found: re.Match[str]) -> str:
            name = "".join(filter(None, found.groups()))
            if name not in self._anchors:
                return found[0]
            return f"[`{name}`]({folder}{self._anchors[name]})"

        return re.sub(rf"{left}|{names}|`[^`\n]*`", link, text, flags=re.M | re.S)


# Settings


def settings() -> str:
    """Every setting: variable, type, default, and how to tune it."""
    rows = [
        f"| {PREFIX}{name.upper()} | {_default(name, field)} | {_first(field.description)} |"
        for name, field in ServingSettings.model_fields.items()
    ]
    parts = [
        "# Settings",
        "A setting is an environment variable, or a field of the service's `Settings`, where "
        "another default can stand. Settings are read once, at the start. An unknown variable "
        f"with the prefix `{PREFIX}` or an invalid value ends the start with code 2 and a line "
        "that names it. `serve --help` prints this page, with the defaults of the service.",
        "| variable | default | what it is |\n|---|---|---|\n" + "\n".join(rows),
    ]
    for name, field in ServingSettings.model_fields.items():
        parts += [
            f"## {PREFIX}{name.upper()}",
            f"| | |\n|---|---|\n| field | `{name}` |\n| value | {_value(name, field)} |\n"
            f"| default | {_default(name, field)} |",
            field.description,
        ]
    return "\n\n".join(parts)


def _value(name: str, field: Any) -> str:
    """What a value must be, in the words of the service where it is no plain number."""
    limits = [
        f"{words} {getattr(limit, key):,g}"
        for limit in field.metadata
        for key, words in {"ge": "at least", "gt": "more than", "le": "at most"}.items()
        if getattr(limit, key, None) is not None
    ]
    kinds = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}
    for kind, words in kinds.items():
        if kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            return ", ".join([words, *limits])
    try:
        load_settings(ServingSettings, **{name: INVALID})
    except UsageError as error:
        return str(error).partition(" is invalid: ")[2].removeprefix("it must be ").rstrip(".")
    return "text"


def _default(name: str, field: Any) -> str:
    match field.default:
        case None:
            return "none"
        case () | "":
            return "empty"
        case bool():
            return f"`{str(field.default).lower()}`"
        case int() if name.endswith("_bytes"):
            mebi = field.default % 1024**2 == 0
            size = f"{field.default >> 20}&nbsp;MiB" if mebi else f"{field.default >> 10}&nbsp;KiB"
            return f"`{field.default}`&nbsp;({size})"
        case float():
            return f"`{field.default:g}`"
        case _:
            return f"`{field.default}`"


# Metrics


def metric_families() -> list[Any]:
    """The families, each with a sample for every label that it can have."""
    counts: dict[str, list[float]] = {}
    for name, _, labels, bounds in exposition._HISTOGRAMS:
        counts["\n".join([name, *labels])] = [0] * (len(bounds) + 2)
    for name, _, labels in exposition._COUNTERS:
        counts["\n".join([name, *labels])] = [0]
    gauges = exposition.Gauges(0, 0, 0, "name", "version", 0.0, 0)
    return list(exposition.engine_families(exposition.Totals(counts, [gauges], ready=1)))


def metrics() -> str:
    """Every metric: name, type, labels, and the settings that speak of it."""
    families = sorted(metric_families(), key=lambda family: family.name)
    parts = [
        "# Metrics",
        "What `/metrics` reports, in the text format of Prometheus, summed over the workers of a "
        "service. No label holds a value that a client sent: `route` is the template of a route, "
        "or `unmatched`. Beside these are the metrics of Python, of the process, and those that "
        "you make with `prometheus_client`.",
        "| metric | type | labels | what it counts or measures |\n|---|---|---|---|\n"
        + "\n".join(
            f"| {sample_name(family)} | {family.type} | {_labels(family)} | "
            f"{family.documentation} |"
            for family in families
        ),
    ]
    for family in families:
        speaking = [
            f"`{PREFIX}{name.upper()}`"
            for name, field in ServingSettings.model_fields.items()
            if re.search(rf"\b{family.name}(_total)?\b", field.description or "")
        ]
        parts += [f"## {sample_name(family)}", family.documentation, _facts(family, speaking)]
    return "\n\n".join(parts)


def _facts(family: Any, speaking: list[str]) -> str:
    rows = [f"| type | {family.type} |", f"| labels | {_labels(family) or 'none'} |"]
    if family.type == "histogram":
        bounds = [sample.labels["le"] for sample in family.samples if "le" in sample.labels]
        rows.append(f"| buckets | {', '.join(bounds)} |")
    if speaking:
        rows.append(f"| tells about | {', '.join(speaking)} |")
    return "| | |\n|---|---|\n" + "\n".join(rows)


def sample_name(family: Any) -> str:
    return family.name + ("_total" if family.type == "counter" else "")


def _labels(family: Any) -> str:
    names = {name for sample in family.samples for name in sample.labels} - {"le"}
    return ", ".join(f"`{name}`" for name in sorted(names))


# Errors and exit codes


def errors(engine: Path) -> str:
    """Every error that a client can get."""
    kinds = [one for one in subclasses(engine, "RequestError") if "kind" in one.own]
    rows = sorted(
        f"| {one.values['status']} | `{one.values['kind']}` | {one.values['title']} | "
        f"{_first(one.docstring)} |"
        for one in kinds
    )
    example = RequestError("What is wrong with this request.").document()
    return "\n\n".join(
        [
            "# Errors",
            "An error is `application/problem+json` (RFC 9457), at most 8 KiB. Its `type` is "
            f"`{str(example['type']).removesuffix(RequestError.kind)}` and the name in the table; "
            "`title` and `status` are those of the table, and `detail` says what is wrong in "
            "words. For `invalid-input`, `errors` has the first places that do not fit, each with "
            "a JSON pointer and a message, never with the value. A 500 has an `id`, under which "
            "the log has the reason. A 503 has `Retry-After`, in seconds. Other protocols put the "
            "same errors into their own form.",
            "| status | type | title | when |\n|---|---|---|---|\n" + "\n".join(rows),
            "In Python each is a subclass of `RequestError`. A handler of yours raises "
            "`InvalidInput`, or a subclass of its own with `status`, `kind` and `title`.",
        ]
    )


def exit_codes(engine: Path) -> str:
    """Every code that a command ends with, and the errors behind it."""
    failures = [one for one in subclasses(engine, "ServiceExit") if one.name != "ServiceExit"]
    rows = sorted(
        f"| {one.values['exit_code']} | `{one.name}` | {_first(one.docstring)} |"
        for one in failures
    )
    return "\n\n".join(
        [
            "# Exit codes",
            "A command ends with 0 when it has done what was asked: `serve`, when SIGTERM, SIGINT "
            "or Ctrl-C ended it. One that fails prints one line on standard error, which says "
            "what is wrong and what to do, and ends with the code of the error. Ctrl-C ends any "
            "other command with 130.",
            "| code | error | when |\n|---|---|---|\n" + "\n".join(rows),
        ]
    )


# The command line


def command_line() -> str:
    """Every command with its arguments and options."""
    parser = build_parser(DefaultService("iris_service"))
    parts = [
        "# Command line",
        "The command is called after the project: `uv run iris-service COMMAND` in its folder, or "
        "`python -m iris_service COMMAND`. The variables of [the settings](settings.md) count for "
        "every command.",
    ]
    for command in _commands(parser):
        name = command.prog.partition(" ")[2]
        usage = " ".join(command.format_usage().removeprefix("usage: ").split())
        parts += [f"## {name}", command.description or "", f"```text\n{_folded(usage)}\n```"]
        rows = [_option(action) for action in command._actions if _is_shown(action)]
        if rows:
            parts.append("| argument | what it does |\n|---|---|\n" + "\n".join(rows))
    return "\n\n".join(part for part in parts if part)


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of commands that have no commands of their own."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    for group in groups:
        for command in group.choices.values():
            yield from _commands(command)
    if not groups:
        yield parser


def _is_shown(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)


def _option(action: argparse.Action) -> str:
    value = action.metavar or (
        "" if action.nargs == 0 or not action.option_strings else action.dest.upper()
    )
    names = ", ".join(action.option_strings)
    text = f"{names} {value}".strip() or str(action.metavar)
    words = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    if action.choices:
        words += f" ({', '.join(map(str, action.choices))})"
    return f"| `{text}` | {_prose(words)} |"


def _folded(usage: str, width: int = 88) -> str:
    """A line of usage, broken before an argument where it would be too long."""
    lines = [""]
    for word in re.findall(r"\[[^\[\]]*(?:\[[^\]]*\][^\[\]]*)*\]|\S+", usage):
        if lines[-1] and len(f"{lines[-1]} {word}") > width:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


# The manifest


def manifest() -> str:
    """Every field of `manifest.json`."""
    schema = Manifest.model_json_schema()
    parts = [
        "# The manifest",
        "A model is a directory: `manifest.json`, and the files that it names. `model package` "
        "writes it; `model show` prints it. An unknown field or a value of another type is an "
        "error, before any file of the model is read.",
        _fields(schema),
    ]
    for name, part in schema["$defs"].items():
        text = name_items(part.get("description", ""), set(part.get("properties", ())))
        parts += [f"## {name}", text, _fields(part)]
    return "\n\n".join(part for part in parts if part)


def _fields(schema: dict[str, Any]) -> str:
    if "properties" not in schema:
        return ""
    required = set(schema.get("required", ()))
    rows = [
        f"| `{name}` | {_kind(field)} | "
        f"{'required' if name in required else _shown_default(field)} |"
        for name, field in schema["properties"].items()
    ]
    return "| field | value | default |\n|---|---|---|\n" + "\n".join(rows)


def _shown_default(field: dict[str, Any]) -> str:
    default = field.get("default")
    if default is None or default == "":
        return "none"
    if isinstance(default, dict):
        return ", ".join(f"`{name}` {value:g}" for name, value in default.items())
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _kind(field: dict[str, Any]) -> str:
    """The values that a schema allows, in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        kinds = [_kind(one) for one in field["anyOf"] if one.get("type") != "null"]
        return " or ".join(kinds)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{one}`" for one in field["enum"])
    match field.get("type"):
        case "array":
            return f"list: {_kind(field.get('items', {}))}"
        case "object":
            more = field.get("additionalProperties")
            return "object" + (f": {_kind(more)}" if isinstance(more, dict) and more else "")
        case "string":
            pattern = field.get("pattern", "").replace("|", r"\|")
            if field.get("format"):
                return "date and time"
            return f"text, `{pattern}`" if pattern else "text"
        case "integer" | "number" as kind:
            words = "whole number" if kind == "integer" else "number"
            limits = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most"}
            found = [f"{words} {field[key]:g}" for key, words in limits.items() if key in field]
            return ", ".join([words, *found])
        case "boolean":
            return "true or false"
        case _:
            return "any value"


# Words


def _first(text: str | None) -> str:
    """The first sentence of a docstring, for a cell of a table."""
    paragraph = " ".join((text or "").strip().split("\n\n")[0].split())
    return _prose(re.split(r"(?<=\.) (?=[A-Z0-9])", paragraph)[0])


def _prose(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;").replace("*", r"\*")
