"""The address of a client behind proxies, for logs and traces.

A header that names a client proves nothing by itself: anybody can send one. Each proxy adds the
address that it sees at the end, so the client is the last address that is no trusted proxy's.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from ..asgi import Header, Scope
from ..setting_types import Network

Address = IPv4Address | IPv6Address

MAX_HOPS = 32
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^;\s]*)', re.IGNORECASE)
# 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:80
_HOST = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+)(?::\d+)?|([0-9A-Fa-f:.]+)")


def client_address(scope: Scope, trusted: Sequence[Network]) -> str | None:
    """The address of the client that made a request; None if the server knows none.

    trusted: networks of the proxies whose `Forwarded` (RFC 7239) and `X-Forwarded-For` count. A
    proxy adds one of the two, and may pass on what a client wrote into the other: if both are sent
    and name two clients, neither counts.
    """
    connected = scope.get("client")
    if not connected:
        return None
    peer = str(connected[0])
    address = _address(peer) if trusted else None
    if address is None or not _is_trusted(address, trusted):
        return peer
    headers = scope["headers"]
    sent = [_elements(headers, b"forwarded"), _elements(headers, b"x-forwarded-for")]
    chains = [[_forwarded_for(element) for element in sent[0]], sent[1]]
    found = {_last_untrusted(address, chain, trusted) for chain in chains if chain}
    return str(found.pop()) if len(found) == 1 else peer


def _last_untrusted(address: Address, chain: list[str], trusted: Sequence[Network]) -> Address:
    """The last address of a chain that no trusted proxy has; or the first, if all are trusted.

    address: of the proxy that sent the chain. The chain ends where it has something else.
    """
    for element in chain[: -MAX_HOPS - 1 : -1]:
        found = _address(element)
        if found is None:
            break
        address = found
        if not _is_trusted(address, trusted):
            break
    return address


def _elements(headers: Sequence[Header], name: bytes) -> list[str]:
    """The elements of a list, which several headers may hold (RFC 9110, section 5.3)."""
    lines = [value.decode("latin-1") for key, value in headers if key == name]
    return [element.strip() for element in ",".join(lines).split(",")] if lines else []


def _forwarded_for(element: str) -> str:
    found = _FOR.search(element)
    return found[1].strip('"') if found else ""


def _address(text: str) -> Address | None:
    """An address, with or without a port; None for anything else, such as `unknown`."""
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    try:
        address = ip_address(found[1] or found[2] or found[3])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    v6 = isinstance(address, IPv6Address)
    return any(isinstance(one, IPv6Network) == v6 and address in one for one in trusted)
