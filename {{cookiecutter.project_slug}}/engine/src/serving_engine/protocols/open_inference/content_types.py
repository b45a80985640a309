"""MLServer's content types, which say what the elements of a tensor are beside their datatype.

Source: MLServer's codecs. `np`, `str` and `pd` say nothing that the datatype does not say; `base64`
is decoded. A content type that was ignored could make an encoded text the input of the model, so an
unknown one is rejected.
"""

import base64
from collections.abc import Mapping
from typing import Any

from ...errors import InvalidInput
from ...schema.error_messages import MAX_NAME
from .datatypes import Values

OF_REQUEST = ("np", "pd", "str")
OF_INPUT = ("base64", "np", "str")
OF_OUTPUT = ("np", "str")
_OF_TEXT = ("base64", "str")


def check_request(document: Mapping[str, Any]) -> None:
    """Raise InvalidInput if a request has an unsupported content type."""
    _content_type(document, "a request", OF_REQUEST)


def check_output(output: Mapping[str, Any]) -> None:
    """Raise InvalidInput if an output is requested with an unsupported content type."""
    _content_type(output, "an output", OF_OUTPUT)


def decode_input(fields: Mapping[str, Any], values: Values) -> Values:
    """Decode the values of an input as its content type says.

    Raises InvalidInput; its message does not repeat a value.
    """
    content_type = _content_type(fields, "an input", OF_INPUT)
    if content_type in _OF_TEXT and fields["datatype"] != "BYTES":
        raise InvalidInput(f"the content type {content_type} requires the datatype BYTES.")
    return list(map(_decode_base64, values)) if content_type == "base64" else values


def _content_type(owner: Mapping[str, Any], kind: str, supported: tuple[str, ...]) -> str | None:
    content_type: str | None = (owner.get("parameters") or {}).get("content_type")
    if content_type is None or content_type in supported:
        return content_type
    raise InvalidInput(
        f"the content type {content_type[:MAX_NAME]} is not supported: {kind} may have "
        f"{', '.join(supported)}."
    )


def _decode_base64(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        raise InvalidInput("data has an element that is not base64 of a text in UTF-8.") from None
