"""What a check of the doctor finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    subject: what was checked. text: what is there, in one line. remedy: a command or a sentence.
    drifted: whether it is not as it was recorded; else the remedy is an offer.
    """

    subject: str
    text: str
    remedy: str | None = None
    drifted: bool = False
