"""A Trino server over a lake's own catalog, read-only: fetched once, started, asked, ended.

Fetched from Maven Central by ``mvn`` into a cache outside of the repository: 0.6 GB, so only if
``LAKE_TEST_SERVICES=1`` says so; later runs find it there. Needs a JDK of its own to run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VERSION = "476"
_JAVA = 24
"""Its least version."""
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
_ARTIFACTS = (
    f"io.trino:trino-server-core:{VERSION}:tar.gz",
    f"io.trino:trino-iceberg:{VERSION}:zip",
    "org.xerial:sqlite-jdbc:3.50.3.0:jar",
)
_JVM = """-server -Xmx2G -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError -XX:ReservedCodeCacheSize=256M
-Djdk.attach.allowAttachSelf=true --add-modules=jdk.incubator.vector
--enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow
-XX:+EnableDynamicAgentLoading"""
_STARTING_S, _ENDING_S = 300, 60
_ASKS_A_NODE = "SELECT sum(n) FROM TABLE(sequence(1, 2)) AS t (n)"
_NO_NODES = "No nodes available"
"""It answers before it knows of itself."""


def why_not() -> str | None:
    """Return why Trino cannot be had here; None: it can."""
    if java_home() is None:
        return f"Trino {VERSION} needs a JDK of version {_JAVA} or later (JAVA_HOME, /usr/lib/jvm)"
    if _is_whole(_cache()):
        return None
    if os.environ.get("LAKE_TEST_SERVICES") != "1":
        return f"{_cache()} is not there; LAKE_TEST_SERVICES=1 fetches Trino (0.6 GB) into it"
    if shutil.which("mvn") is None:
        return "mvn is missing, which fetches Trino"
    return _fetch(_cache())


def java_home() -> Path | None:
    """Return the home of the newest JDK that Trino runs on."""
    named = os.environ.get("JAVA_HOME")
    homes = [*([Path(named)] if named else []), *Path("/usr/lib/jvm").glob("*")]
    found = [(_java_version(home), home) for home in homes]
    version, home = max(found, default=(0, None))
    return home if version >= _JAVA else None


def _java_version(home: Path) -> int:
    release = home / "release"
    text = release.read_text() if release.is_file() else ""
    version = re.search(r'^JAVA_VERSION="(\d+)', text, re.MULTILINE)
    return int(version[1]) if version else 0


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lake_assets" / f"trino-{VERSION}"


def _is_whole(folder: Path) -> bool:
    return folder.is_dir()  # it gets its name last


def _fetch(folder: Path) -> str | None:
    """Fetch and unpack; return why that failed."""
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    for artifact in _ARTIFACTS:
        words = ["mvn", "-q", "-B", _COPY, f"-Dartifact={artifact}", f"-DoutputDirectory={draft}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(draft, ignore_errors=True)
            lines = [line for line in done.stdout.splitlines() if "ERROR" in line]
            return f"mvn could not fetch {artifact}: {' '.join(lines[:1])}"
    with tarfile.open(draft / f"trino-server-core-{VERSION}.tar.gz") as archive:
        archive.extractall(draft, filter="tar")
    server = draft / f"trino-server-core-{VERSION}"
    with zipfile.ZipFile(draft / f"trino-iceberg-{VERSION}.zip") as archive:
        archive.extractall(draft)
    (draft / f"trino-iceberg-{VERSION}").rename(server / "plugin" / "iceberg")
    shutil.copy(draft / "sqlite-jdbc-3.50.3.0.jar", server / "plugin" / "iceberg")
    server.rename(folder)
    shutil.rmtree(draft)
    return None


class Trino:
    """A running server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        """Return whether it answers queries."""
        try:
            is_up = self._json(f"{self._url}/v1/info")["starting"] is False
            return is_up and self.rows(_ASKS_A_NODE) == [[3]]
        except (urllib.error.URLError, ConnectionError):
            return False
        except RuntimeError as error:
            if _NO_NODES not in str(error):
                raise
            return False

    def rows(self, sql: str) -> list[list[Any]]:
        """Return the rows of a query, as Trino's JSON has them.

        Raises:
            RuntimeError: with what Trino says.
        """
        answer = self._json(f"{self._url}/v1/statement", sql.encode())
        rows: list[list[Any]] = []
        while True:
            if "error" in answer:
                raise RuntimeError(answer["error"]["message"])
            rows += answer.get("data", [])
            if "nextUri" not in answer:
                return rows
            answer = self._json(answer["nextUri"])

    def _json(self, url: str, body: bytes | None = None) -> Any:
        # Else it rounds times to milliseconds for old clients.
        headers = {"X-Trino-User": "lake", "X-Trino-Client-Capabilities": "PARAMETRIC_DATETIME"}
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def running(folder: Path, homes: dict[str, Path]) -> Iterator[Trino]:
    """Run Trino with its files below ``folder``, and a catalog for each of these lakes."""
    port = _free_port()
    _configure(folder, port, homes)
    server = _start(folder)
    try:
        trino = Trino(port)
        _wait_until_ready(trino, server, folder)
        yield trino
    finally:
        server.terminate()
        try:
            server.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _start(folder: Path) -> subprocess.Popen[bytes]:
    java = java_home()
    # It execs: the pid is the server's own.
    words = [str(_cache() / "bin" / "launcher"), "-etc-dir", str(folder / "etc"), "run"]
    shell = ["sh", "-c", 'ulimit -n 8192; exec "$@"', "sh", *words]
    path = f"{java}/bin{os.pathsep}{os.environ['PATH']}"
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            shell, stdout=log, stderr=log, env={**os.environ, "JAVA_HOME": str(java), "PATH": path}
        )


def _wait_until_ready(trino: Trino, server: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _STARTING_S
    while not trino.is_ready():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Trino did not start:\n{(folder / 'log').read_text()[-3000:]}")
        time.sleep(0.2)


def _configure(folder: Path, port: int, homes: dict[str, Path]) -> None:
    etc = folder / "etc"
    (etc / "catalog").mkdir(parents=True)
    _write(etc / "jvm.config", _JVM.split())
    _write(etc / "config.properties", [
        "coordinator=true", "node-scheduler.include-coordinator=true",
        f"http-server.http.port={port}",
        f"discovery.uri=http://127.0.0.1:{port}", "query.max-memory-per-node=1GB",
    ])  # fmt: skip
    _write(etc / "node.properties", [
        "node.environment=test", "node.id=t1", f"node.data-dir={folder / 'data'}",
        "node.internal-address=127.0.0.1", "node.bind-ip=127.0.0.1",
    ])  # fmt: skip
    for name, home in homes.items():
        _write(etc / "catalog" / f"{name}.properties", [
            "connector.name=iceberg", "iceberg.catalog.type=jdbc",
            "iceberg.jdbc-catalog.catalog-name=lake",
            "iceberg.jdbc-catalog.driver-class=org.sqlite.JDBC",
            f"iceberg.jdbc-catalog.connection-url=jdbc:sqlite:{_sqlite_uri(home)}",
            f"iceberg.jdbc-catalog.default-warehouse-dir=file://{_escaped(home / 'tables')}",
            "fs.native-local.enabled=true", "local.location=/",
        ])  # fmt: skip


def _sqlite_uri(home: Path) -> str:
    """Return SQLite's URI of a lake's catalog, which, other than locations, is percent-encoded."""
    return _escaped(f"{(home / 'catalog.db').as_uri()}?mode=ro")


def _escaped(value: object) -> str:
    """Return a value as a Java properties file has it: in Latin-1, others as \\uXXXX."""
    text = str(value).replace("\\", "\\\\")
    units = text.encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
