"""Small servers on this machine, standing in for the hosts that a model comes from."""

import contextlib
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def serve(folder):
    """The files of a folder over HTTP: the URL, and the list of what was asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_):
            asked.append(self.path)

        def log_message(self, *_):
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def hang():
    """A server that takes connections and never answers: its URL, and the event of a connection."""
    connected, over = threading.Event(), threading.Event()

    def accept():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connected.set()
            over.wait()
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", connected
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def closed_port():
    """A URL where nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


def free_port():
    """A port of loopback that nobody has, for a server that cannot be told to take any."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
