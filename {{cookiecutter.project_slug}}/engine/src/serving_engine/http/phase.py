"""The phase of a connection: the data that its client may send, and the next phase.

    IDLE     a request            then HEAD, at its first byte
    HEAD     the rest of a head   then BODY, when the head is complete
    BODY     the rest of a body   then IDLE, when the body is complete
    CLOSING  nothing: data that arrives is discarded

CLOSING follows any phase: after an invalid request, a timeout, the last response or a disconnect.

A response may be due in any phase. When a request is rejected, it decides what follows:

    none                                    the error is the response; the connection closes
    to this request, nothing is sent yet    as above, and the application sees a disconnect
    to this request, and a part is sent     the application sees a disconnect; no more is sent
    to an earlier request                   that response is completed; the connection closes
    none, as this request got its own       the connection closes
"""

from enum import Enum


class Phase(Enum):
    """A connection's phase."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    CLOSING = "closing"


IDLE, HEAD, BODY, CLOSING = Phase  # names of a module cost less than attributes of a class
