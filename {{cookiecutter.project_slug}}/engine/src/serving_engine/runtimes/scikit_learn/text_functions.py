"""Methods of str as functions, which a model can name: a vectorizer's `tokenizer=str.split`."""


def casefold(text: str) -> str:
    """`str.casefold`."""
    return text.casefold()


def lower(text: str) -> str:
    """`str.lower`."""
    return text.lower()


def split(text: str) -> list[str]:
    """`str.split`, at runs of whitespace."""
    return text.split()


def splitlines(text: str) -> list[str]:
    """`str.splitlines`."""
    return text.splitlines()


def strip(text: str) -> str:
    """`str.strip`, of whitespace."""
    return text.strip()


def upper(text: str) -> str:
    """`str.upper`."""
    return text.upper()
