"""Builds the documentation site, strictly and without the network: make docs

make docs                  into the folder site/
make docs ARGS=--serve     and serves it on loopback, anew after each change of a page
"""

import argparse
import http.server
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

from tests.rendering import PROJECT, ROOT

ENGINE = ROOT / PROJECT / "engine" / "src"
SEEN = ("docs", "README.md", "templates", PROJECT)
"""What the pages are made of."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="serve it, and build after a change")
    parser.add_argument("--port", type=int, default=8008, help="of --serve; 0 takes a free one")
    parser.add_argument("--output", type=Path, default=ROOT / "site", help="a folder to replace")
    arguments = parser.parse_args()
    code = build(arguments.output)
    if not arguments.serve:
        sys.exit(code)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(arguments.output))
    with http.server.ThreadingHTTPServer(("127.0.0.1", arguments.port), handler) as server:
        print(f"the site: http://127.0.0.1:{server.server_port}", flush=True)
        threading.Thread(target=build_after_changes, args=[arguments.output], daemon=True).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.exit(0)


def build(output: Path) -> int:
    """Build the site into `output`; 0, or an exit code after a message that says what is wrong."""
    if output.exists() and not (output / "sitemap.xml").exists():
        print(f"{output} is no site: name a folder that may be replaced", file=sys.stderr)
        return 2
    sys.path.insert(0, str(ENGINE))
    sys.dont_write_bytecode = True  # a project rendered from this folder would have it
    from .assemble import InvalidPages, Site
    from .reference import Reference

    with tempfile.TemporaryDirectory() as work:
        try:
            site = Site()
            site.add_reference(Reference(ENGINE / "serving_engine"))
            site.write(Path(work))
        except InvalidPages as error:
            print(error, file=sys.stderr)
            return 1
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        ended = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if ended.returncode:
            print(ended.stdout, ended.stderr.partition("Traceback")[0], file=sys.stderr)
            return 1
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(Path(work) / "site", output)
    return 0


def build_after_changes(output: Path) -> None:
    """Build whenever a file that a page is made of has changed."""
    command = [sys.executable, "-m", __spec__.parent, "--output", str(output)]
    built = newest()
    while True:
        time.sleep(0.5)
        if newest() != built:
            built = newest()
            # In a process of its own: the reference is made from code that may have changed.
            code = subprocess.run(command, cwd=ROOT, check=False).returncode
            print("not built" if code else "built", flush=True)


def newest() -> float:
    files = (path for name in SEEN for path in [ROOT / name, *(ROOT / name).rglob("*")])
    return max(path.stat().st_mtime for path in files if path.suffix in {".md", ".py", ".toml"})


if __name__ == "__main__":
    main()
