"""Lets the engine believe that it runs on another system: `pretend("win32")` before its import.

In the engine's modules alone `sys.platform` has that value, and what the system lacks is missing:
modules, and attributes of modules. Libraries go on with the real system. On Windows the event loop
has no signal handlers, as asyncio's own has none there.
"""

import ast
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType
from typing import Any

_MAC_LACKS = {
    "os": {"eventfd", "memfd_create", "pidfd_open", "posix_fadvise", "sched_getaffinity"},
    "select": {"epoll"},
    "signal": {"pidfd_send_signal"},
    "fcntl": {"F_GETPIPE_SZ", "F_SETPIPE_SZ"},
}
LACKS: dict[str, dict[str, set[str]]] = {
    "darwin": _MAC_LACKS,
    "win32": {
        "os": {
            *_MAC_LACKS["os"],
            *("O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "WNOHANG"),
            *("fchmod", "fchown", "fork", "getpgid", "getuid", "killpg", "register_at_fork"),
            *("setpriority", "setsid", "sync", "uname", "wait", "waitid"),
        },
        "select": {"epoll", "poll"},
        "signal": {
            *("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2"),
            *("pthread_sigmask", "setitimer", "sigwait"),
        },
        "socket": {"AF_UNIX", "MSG_DONTWAIT", "SO_REUSEPORT"},
        "time": {"clock_gettime"},
        **{name: {"*"} for name in ("fcntl", "grp", "pwd", "resource", "termios", "uvloop")},
    },
}
"""What a system lacks that Linux has: attributes by module, all of it as a star."""


def pretend(system: str) -> None:
    """Import the engine as on another system from now on."""
    assert not [name for name in sys.modules if name.startswith("serving_engine")]
    sys.meta_path.insert(0, _Finder(system))
    if system == "win32":
        from asyncio import unix_events  # which Windows itself does not have

        sys.modules["uvloop"] = None  # type: ignore[assignment]
        del unix_events._UnixSelectorEventLoop.add_signal_handler


class _Finder(MetaPathFinder):
    def __init__(self, system: str) -> None:
        self._system = system

    def find_spec(self, fullname: str, path: Any, _: Any = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "serving_engine":
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path, self._system)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, system: str) -> None:
        super().__init__(fullname, path)
        self._system = system

    def get_code(self, _: str) -> CodeType:  # never the bytecode that Linux has
        tree = _OtherSystem(self._system).visit(ast.parse(self.get_data(self.path)))
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


class _OtherSystem(ast.NodeTransformer):
    """Rewrites a module: `sys.platform` is a constant, and what is missing raises when it runs."""

    def __init__(self, system: str) -> None:
        self._system = system
        self._lacks = LACKS[system]

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        name = ast.unparse(node)
        if name == "sys.platform":
            return ast.Constant(self._system)
        if isinstance(node.value, ast.Name) and node.attr in self._lacks.get(node.value.id, ()):
            node.attr = f"{node.attr}_is_missing_on_{self._system}"
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for alias in node.names:
            if "*" in self._lacks.get(alias.name, ()):
                alias.name = f"{alias.name}_is_missing_on_{self._system}"
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        lacking = self._lacks.get(node.module or "", set())
        if "*" in lacking:
            node.module = f"{node.module}_is_missing_on_{self._system}"
        for alias in node.names:
            if alias.name in lacking:
                alias.name = f"{alias.name}_is_missing_on_{self._system}"
        return node
