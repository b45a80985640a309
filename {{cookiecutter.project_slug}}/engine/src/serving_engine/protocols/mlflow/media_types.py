"""The forms of a body: what a request declares, and what its client accepts as a response."""

import re
from typing import NamedTuple

from ...errors import NotAcceptable, UnsupportedMediaType
from ...web.read_request import Headers, check_not_encoded

JSON = "application/json"
CSV = "text/csv"
JSON_LINES = "application/jsonlines"
NPY = "application/x-npy"
MEDIA_TYPES = (JSON, CSV, JSON_LINES, NPY)
"""Of requests and of responses; a client that accepts several equally gets the first."""

_UTF_8 = {"charset": {"utf-8"}}
_PARAMETERS: dict[str, dict[str, set[str]]] = {
    JSON: _UTF_8,
    CSV: {**_UTF_8, "header": {"absent", "present"}, "label_size": {"0"}},
    JSON_LINES: _UTF_8,
    NPY: {},
}
"""The values of each parameter that a content type may have. `header` is that of RFC 4180;
`label_size` says how many of the first columns are labels, in SageMaker's own algorithms."""
_QUALITY = re.compile(r"q=(0(\.[0-9]{0,3})?|1(\.0{0,3})?)")


class ContentType(NamedTuple):
    """The form of a request's body. header: whether its first line has names; None if not said."""

    form: str
    header: bool | None = None


def content_type_of(headers: Headers) -> ContentType:
    """Return the form of a request's body. Raises UnsupportedMediaType."""
    form, *parts = headers.get(b"content-type", b"").decode("latin-1").lower().split(";")
    form = form.strip(" \t")
    if form not in MEDIA_TYPES:
        raise UnsupportedMediaType(f"Send {', '.join(MEDIA_TYPES[:-1])} or {MEDIA_TYPES[-1]}.")
    parameters: dict[str, str] = {}
    for part in parts:
        name, _, value = (text.strip(' \t"') for text in part.partition("="))
        if value not in _PARAMETERS[form].get(name, ()):
            raise UnsupportedMediaType(_explain(form))
        parameters[name] = value
    header = parameters.get("header")
    return ContentType(form, None if header is None else header == "present")


def check_content_type(headers: Headers) -> None:
    """Raise UnsupportedMediaType if the headers declare a body that is not read."""
    check_not_encoded(headers)
    content_type_of(headers)


def response_form(accept: bytes | None) -> str:
    """Return the form of the response that a client prefers (RFC 9110, section 12.5.1).

    accept: the value of the header Accept; None if there is none. Raises NotAcceptable.
    """
    if not (accept and accept.strip()):
        return JSON
    qualities: dict[str, float] = {}
    for element in accept.decode("latin-1").lower().split(","):
        media_range, *parameters = (part.strip(" \t") for part in element.split(";"))
        quality = 1.0
        for parameter in parameters:
            if matched := _QUALITY.fullmatch(parameter):
                quality = float(matched[1])
        qualities[media_range] = max(quality, qualities.get(media_range, 0.0))
    best = max(MEDIA_TYPES, key=lambda form: _quality(form, qualities))
    if not _quality(best, qualities):
        raise NotAcceptable(
            f"The response may be {', '.join(MEDIA_TYPES[:-1])} or {MEDIA_TYPES[-1]}."
        )
    return best


def _quality(form: str, qualities: dict[str, float]) -> float:
    """Return the quality of the most specific media range that a form matches."""
    for media_range in (form, f"{form.partition('/')[0]}/*", "*/*"):
        if media_range in qualities:
            return qualities[media_range]
    return 0.0


def _explain(form: str) -> str:
    parameters = _PARAMETERS[form].items()
    known = [f"{name}={value}" for name, values in parameters for value in sorted(values)]
    if not known:
        return f"{form} has no parameters."
    return f"{form} may have no parameter but {', '.join(known)}."
