"""How PyIceberg reads and writes the lake's metadata: local files, sealed as they are written.

Invariants: a file that PyIceberg wrote here has a line in its table's seal log before any commit
can name it, and none is ever written over; nothing is written or removed outside of the lake, as
the metadata of a copied lake would have it.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
from pyiceberg.io import InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.io.pyarrow import PyArrowFileIO

from lake_assets.storage.seals import Seal, append_seals, table_folder
from lake_assets.storage.tables.locations import local_path, require_own
from lake_assets.storage.tables.trouble import missing_file

FILE_IO = f"{__name__}.SealingFileIO"
"""Value of the catalog's property ``py-io-impl``."""


class SealingFileIO(PyArrowFileIO):
    """PyIceberg's files on this machine.

    A kind of PyArrowFileIO because PyIceberg's own scan asks for one. That one costs three calls of
    pyarrow's file system per file; these are small and local. Its property ``warehouse`` is the
    folder of the lake's tables; without one nothing can be written.
    """

    def new_input(self, location: str) -> _LocalFile:  # type: ignore[override]
        """Return the file at ``location``, to be read."""
        return _LocalFile(location)

    def new_output(self, location: str) -> _LocalFile:  # type: ignore[override]
        """Return the file at ``location``, to be written.

        Raises:
            LakeMoved: It lies in another lake.
        """
        require_own(location, self._warehouse)
        return _LocalFile(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Remove a file.

        Raises:
            FileNotFoundError.
            LakeMoved: It lies in another lake.
        """
        path = location if isinstance(location, str) else location.location
        require_own(path, self._warehouse)
        Path(local_path(path)).unlink()

    @property
    def _warehouse(self) -> Path:
        return Path(self.properties["warehouse"])


class _LocalFile(InputFile, OutputFile):
    """A file that is there, or is to be."""

    def __len__(self) -> int:
        path = local_path(self.location)
        try:
            return Path(path).stat().st_size
        except FileNotFoundError as error:
            raise missing_file(path) from error

    def exists(self) -> bool:
        return Path(local_path(self.location)).exists()

    def open(self, seekable: bool = True) -> InputStream:
        path = local_path(self.location)
        try:
            stream: InputStream = pa.OSFile(path)
        except FileNotFoundError as error:
            raise missing_file(path) from error
        return stream

    def create(self, overwrite: bool = False) -> OutputStream:
        # PyIceberg asks to overwrite where it knows that nothing is there; so it may be checked.
        return _SealedOutput(Path(local_path(self.location)))

    def to_input_file(self) -> _LocalFile:
        return self


class _SealedOutput(io.BytesIO):
    """Gathers a metadata file in memory; writes and seals it when it is closed without an error.

    Metadata files have kilobytes, manifests at most 8 MB (``commit.manifest.target-size-bytes``).
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            content = self.getvalue()
            super().close()
            _write_sealed(self._path, content)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:  # half a file is none
            super().close()

    def __del__(self) -> None:
        super().close()


def _write_sealed(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        rest: Any = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        path.unlink(missing_ok=True)  # a full disk; the name may be tried again
        raise
    finally:
        os.close(descriptor)
    folder = table_folder(path)
    seal = Seal(sha256=hashlib.sha256(content).hexdigest(), byte_count=len(content))
    append_seals(folder, {path.relative_to(folder).as_posix(): seal})
