"""The phase of a connection: the data that its client may send, and the next phase.

    IDLE     a request            then HEAD, at its first byte
    HEAD     the rest of a head   then BODY, when the head is complete
    BODY     the rest of a body   then IDLE, when the body is complete
    CLOSING  nothing: data that arrives is discarded

CLOSING follows any phase: after an invalid request, a timeout, the last response or a disconnect.

A response may be due in any phase. When a request is rejected, it decides what follows:

    no response is due                   the error is the response, then the connection closes
    to this request, nothing was sent    its task is cancelled, the error is the response
    to this request, a part was sent     its task is cancelled, the connection closes
    to earlier requests                  their responses are completed, then the error follows
    this request has its response        the connection closes
"""

from enum import Enum


class Phase(Enum):
    """A connection's phase."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    CLOSING = "closing"


IDLE, HEAD, BODY, CLOSING = Phase  # names of a module cost less than attributes of a class
