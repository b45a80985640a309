"""The port: bound before the model is loaded, so that a second service fails at once; it listens
when the model is ready.
"""

import socket
import sys

from ..errors import StartupError
from ..settings import ServingSettings


def bind(host: str, port: int) -> socket.socket:
    """Bind host:port without listening: until then, the kernel refuses connections.

    Raises StartupError if the address is in use or cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, ValueError):  # a name that IDNA cannot encode is a ValueError
        raise StartupError(f"{host} is not an address of this machine. Set SERVING_HOST.") from None
    # Without SO_REUSEADDR, closed connections of a service that just ended keep the port for a
    # minute; with it, Linux lets two services bind the port as long as neither listens. So it is
    # set while binding, cleared while the model loads, and set again before listening.
    for reuse in (False, True) if sys.platform != "win32" else (False,):
        try:
            listener = socket.socket(family, kind, protocol)
        except OSError as error:
            raise StartupError(f"cannot open a socket: {error.strerror}.") from None
        allow_reuse(listener, reuse)
        try:
            listener.bind(address)
        except OSError as error:
            listener.close()
            reason = error.strerror
        else:
            allow_reuse(listener, False)
            return listener
    raise StartupError(
        f"cannot use port {port} on {host}: {reason}. Set SERVING_PORT to a free one."
    )


def bind_each(host: str, port: int, count: int) -> list[socket.socket]:
    """Bind host:port `count` times: the kernel spreads connections over those that listen.

    The first bind does not allow sharing, so two services detect each other; the sockets that are
    bound afterwards share the port. Raises the errors of `bind`.
    """
    if sys.platform == "win32":
        raise NotImplementedError("Windows has no SO_REUSEPORT")
    first = bind(host, port)
    listeners = [first]
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    for _ in range(count - 1):
        listener = socket.socket(first.family, first.type, first.proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        allow_reuse(listener, True)
        listener.bind(first.getsockname())
        allow_reuse(listener, False)
        listeners.append(listener)
    return listeners


def allow_reuse(listener: socket.socket, allowed: bool) -> None:
    """Set SO_REUSEADDR, unless the system is Windows, where it has another meaning."""
    if sys.platform != "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, allowed)


def links(name: str, base: str, settings: ServingSettings) -> str:
    """Return the line that says what is served, and where people may try it.

    name: name and version of the model. base: the URL of the service.
    """
    pages = []
    if settings.docs and settings.page:
        pages.append(f"try it at {base}{settings.root_path}/")
    if settings.docs:
        pages.append(f"its API is at {base}{settings.root_path}/docs")
    return f"serving {name}" + (f": {', '.join(pages)}" if pages else "")


def url(listener: socket.socket) -> str:
    """Return the URL of a listener."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
