"""Every step at which a process changes what lies on the disk, counted, and one of them struck.

Steps are found where Python meets the system: the calls of ``os`` and ``open`` that change files,
``syncfs``, the commits of SQLite, the writers of Parquet and of Iceberg's metadata. So each present
and each future step of the lake is a point without a line in the lake, and nothing in production
can reach this: it works only in a process that calls ``watch``, and only the tests' own do.

Each call gives two points, before and after it; a write also one with half of its bytes written.
"""

from __future__ import annotations

import builtins
import ctypes
import functools
import io
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from lake_assets.media.engines import Engine

_CALLS = (
    "rename", "replace", "link", "unlink", "remove", "mkdir", "rmdir", "fsync", "fdatasync",
    "chmod", "truncate", "symlink", "copy_file_range", "sendfile",
)  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_UNWATCHED_THREADS = frozenset({"lease-heartbeat"})
"""A heartbeat comes by the clock: it would make two runs differ."""

Strike = Callable[[], None]


class Points:
    """Counts the points that this process passes, and strikes at one of them.

    Args:
        home: The lake; the labels of points name paths below it.
        at: Number of the point to strike at, from 0; None: at none.
        strike: What to do there.
    """

    def __init__(self, home: str, *, at: int | None, strike: Strike) -> None:
        self.labels: list[str] = []
        self.struck: str | None = None
        self._home = home
        self._at = at
        self._strike = strike
        self._guard = threading.Lock()
        self._descriptors: set[int] = set()

    def reached(self, label: str) -> None:
        """Count a point, and strike if it is the one."""
        with self._guard:
            number = len(self.labels)
            self.labels.append(label)
        if number == self._at:
            self.struck = label
            self._strike()

    def around(self, label: str, call: Callable[[], Any]) -> Any:
        """Return what ``call`` does, with a point before and one after it."""
        if threading.current_thread().name in _UNWATCHED_THREADS:
            return call()
        self.reached(f"before {label}")
        result = call()
        self.reached(f"after {label}")
        return result

    # -- what is watched

    def watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``call`` with points around it."""

        @functools.wraps(call)
        def stepped(*args: Any, **kwargs: Any) -> Any:
            label = self._label(name, *args)
            return self.around(label, functools.partial(call, *args, **kwargs))

        return stepped

    def os_open(self, call: Callable[..., int]) -> Callable[..., int]:
        """Return ``os.open`` with points around it where it opens for writing."""

        @functools.wraps(call)
        def stepped(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            opened = functools.partial(call, path, flags, *args, **kwargs)
            if not flags & _WRITES:
                return opened()
            descriptor = int(self.around(self._label("open", path), opened))
            self._descriptors.add(descriptor)
            return descriptor

        return stepped

    def os_write(self, call: Callable[..., int]) -> Callable[..., int]:
        """Return ``os.write`` with a point before it, in its middle and after it."""

        @functools.wraps(call)
        def stepped(descriptor: int, data: Any) -> int:
            if descriptor not in self._descriptors:  # a pipe, a terminal
                return call(descriptor, data)
            half = len(data) // 2
            written = call(descriptor, memoryview(data)[:half]) if half else 0
            self.reached("half of a write")
            rest = functools.partial(call, descriptor, memoryview(data)[written:])
            return written + int(self.around("the rest of a write", rest))

        return stepped

    def open(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``open`` with points around it where it opens for writing."""

        @functools.wraps(call)
        def stepped(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            opened = functools.partial(call, file, mode, *args, **kwargs)
            is_path = isinstance(file, (str, bytes, os.PathLike))
            if not is_path or not set(mode) & set("wax+") or str(file).startswith("/proc/"):
                return opened()
            return self.around(self._label("open", file), opened)

        return stepped

    def _label(self, name: str, *args: Any) -> str:
        paths = [arg for arg in args if isinstance(arg, (str, bytes, os.PathLike))]
        return " ".join([name, *(self._plain(os.fsdecode(path)) for path in paths)])

    def _plain(self, path: str) -> str:
        below = path.replace(self._home, "").lstrip("/")
        below = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID", below)
        below = re.sub(r"[0-9a-f]{32,64}", "HEX", below)
        below = re.sub(r"[0-9A-HJKMNP-TV-Z]{26}", "ULID", below)
        return re.sub(r"\d{5,}", "N", below)


@contextmanager
def watch(points: Points) -> Iterator[None]:
    """Let ``points`` see every step of this process in the block."""
    undo: list[Callable[[], None]] = []

    def put(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        old = getattr(owner, name)
        undo.append(functools.partial(setattr, owner, name, old))
        setattr(owner, name, make(old))

    for name in _CALLS:
        put(os, name, functools.partial(points.watched, name))
    put(os, "open", points.os_open)
    put(os, "write", points.os_write)
    put(builtins, "open", points.open)
    put(io, "open", points.open)
    put(ctypes, "CDLL", functools.partial(_watched_library, points))
    put(Engine, "map", lambda _: mapped_here)
    for owner, name, label in _library_steps():
        put(owner, name, functools.partial(_named, points, label))
    try:
        yield
    finally:
        for step in reversed(undo):
            step()


def mapped_here(engine: Engine, function: Callable[[Any], Any], items: Iterable[Any]) -> Any:
    """Stand for the worker process: its steps (images and thumbnails) are points too.

    Where a real one dies, alone or with the process that uses it, `test_killed` looks.
    """
    return map(function, items)


def _named(points: Points, label: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        return points.around(label, functools.partial(call, *args, **kwargs))

    return stepped


def _library_steps() -> list[tuple[Any, str, str]]:
    """Return the steps of libraries that write by C: (owner, method, label)."""
    import pyarrow.parquet as pq
    from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
    from pyiceberg.serializers import ToOutputFile
    from sqlalchemy.engine.default import DefaultDialect

    parquet = ("__init__", "write_table", "write_batch", "write", "close")
    return [
        *((pq.ParquetWriter, name, f"parquet {name.strip('_')}") for name in parquet),
        (PyArrowFile, "create", "iceberg file"),
        (PyArrowFileIO, "delete", "iceberg delete"),
        (ToOutputFile, "table_metadata", "iceberg metadata"),
        (DefaultDialect, "do_commit", "sqlite commit"),
    ]


def _watched_library(points: Points, real: Any) -> Any:
    class Library(real):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            found = super().__getattr__(name)
            return points.watched(name, found) if name == "syncfs" else found

    return Library
