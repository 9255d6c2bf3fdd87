"""Which column of a table holds or names its rows' images, and which file such a name means.

Invariant: a name in a row never leads outside the upload's folder.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pyarrow as pa

from lake_assets.errors import InvalidRequest
from lake_assets.intake.formats import image_extension_of, looks_like_image_name

ImageKind = Literal["path", "bytes", "struct"]

REFERENCED_FOLDER = "referenced"
"""Top folder of staged files that a row named but that lay outside the delivery's folder."""

_SAMPLE_ROWS = 100
_MAX_BASENAME_BYTES = 100
# Control and format characters, lone surrogates, line and paragraph separators.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Best first. Any other name that begins with "image" or "img" comes next, then all others.
_HINTS = ("file_name", "image", "image_path", "img", "img_path", "image_file", "filename", "path")


@dataclass(frozen=True, slots=True)
class ImageColumn:
    """The column with a table's images, and how it holds them.

    ``path``: a string that names a file; ``bytes``: the encoded image itself; ``struct``: both,
    as Hugging Face's ``Image`` feature does (``{bytes: binary, path: string}``).
    """

    name: str
    kind: ImageKind


def find_image_column(
    rows: pa.Table, *, named: str | None, exists: Callable[[str], bool]
) -> ImageColumn | None:
    """Return the column with the rows' images, or None if there is none.

    Content decides: columns whose values mostly are images, or mostly name existing files, come
    before columns that are merely called so. Among equals the name decides, ``file_name`` first.

    Args:
        rows: The first rows of a data file; at most 100 non-null values per column are looked at.
        named: The column that the user named, if any. It only has to be of a fitting type.
        exists: Whether a path value names a file of the delivery.

    Raises:
        InvalidRequest: The named column is not there, or its type cannot hold images.
    """
    if named is not None:
        return _named_column(rows, named)
    kinds = [(name, _kind(rows.schema.field(i).type)) for i, name in enumerate(rows.column_names)]
    candidates = [ImageColumn(name, kind) for name, kind in kinds if kind is not None]
    values = {column.name: _sample(rows, column.name) for column in candidates}
    confirmed = [c for c in candidates if _holds_images(c, values[c.name], exists)]
    likely = [c for c in candidates if _is_called_so(c, values[c.name], exists)]
    ranked = sorted(confirmed, key=_rank) or sorted(likely, key=_rank)
    return ranked[0] if ranked else None


def fitting_column(rows: pa.Table, name: str) -> ImageColumn | None:
    """Return a column as an image column, or None if it is not there or its type cannot be one."""
    if name not in rows.column_names:
        return None
    kind = _kind(rows.schema.field(name).type, nulls_are_paths=True)
    return None if kind is None else ImageColumn(name, kind)


def referenced_name(value: str) -> str:
    """Return the staged name of a file that a row names from outside the delivery's folder.

    The same value always gives the same name, and different values different ones: the folder is
    the hash of the whole value, the rest is for people.
    """
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{REFERENCED_FOLDER}/{digest[:16]}/{_safe_basename(value)}"


def reference_candidates(value: str, folder: str) -> Iterator[str]:
    """Yield the staged names that a row's path value may mean, best first; none leaves the root.

    Args:
        value: The path as the row has it.
        folder: POSIX folder of the data file below the root, ``""`` for the root itself.
    """
    if value and "\0" not in value:
        for spelling in _spellings(value):
            for base in dict.fromkeys((folder, "")):
                name = posixpath.normpath(posixpath.join(base, spelling))
                if name not in (".", "..") and not name.startswith(("/", "../")):
                    yield name
        yield referenced_name(value)


def resolve_reference(value: str, *, root: Path, folder: str) -> str | None:
    """Return the staged name that a row's path value means, or None if no such file is there.

    Tried in this order: below the data file's own folder, from the root, ``referenced_name``.

    Args:
        value: The path as the row has it.
        root: The upload's ``files/`` folder.
        folder: POSIX folder of the data file below ``root``, ``""`` for the root itself.
    """
    for name in reference_candidates(value, folder):
        if _is_file_inside(root, name):
            return name
    return None


def _named_column(rows: pa.Table, named: str) -> ImageColumn:
    if named not in rows.column_names:
        columns = ", ".join(rows.column_names)
        raise InvalidRequest(
            f"There is no column {named!r} to take images from. The columns are: {columns}.",
            column=named,
        )
    column = fitting_column(rows, named)
    if column is None:
        raise InvalidRequest(
            f"Column {named!r} is of type {rows.schema.field(named).type}, which cannot hold "
            "images. Name a column of paths, of image bytes, or of {bytes, path} structs.",
            column=named,
        )
    return column


def _kind(kind: pa.DataType, *, nulls_are_paths: bool = False) -> ImageKind | None:
    kind = _plain(kind)
    if _is_string(kind) or (nulls_are_paths and pa.types.is_null(kind)):
        return "path"
    if _is_binary(kind):
        return "bytes"
    if pa.types.is_struct(kind):
        fields = {field.name: _plain(field.type) for field in kind}
        if _is_binary(fields.get("bytes")) and _is_string(fields.get("path")):
            return "struct"
    return None


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    return kind


def _is_string(kind: pa.DataType | None) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return kind is not None and any(test(kind) for test in tests)


def _is_binary(kind: pa.DataType | None) -> bool:
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return kind is not None and any(test(kind) for test in tests)


def _sample(rows: pa.Table, name: str) -> list[Any]:
    # Scalars one by one, because drop_null has no kernel for some view and dictionary types.
    column = rows.column(rows.column_names.index(name))
    values = (scalar.as_py() for chunk in column.chunks for scalar in chunk)
    return list(islice((value for value in values if value is not None), _SAMPLE_ROWS))


def _holds_images(column: ImageColumn, values: list[Any], exists: Callable[[str], bool]) -> bool:
    """Return whether at least half of the values are images, or name files that may be."""
    tests: dict[str, Callable[[Any], bool]] = {
        "bytes": lambda value: image_extension_of(value[:32]) is not None,
        "struct": _struct_is_image,
        "path": lambda value: _may_name_image(value) and exists(value),
    }
    hits = sum(map(tests[column.kind], values))
    return hits > 0 and 2 * hits >= len(values)


def _struct_is_image(value: dict[str, Any]) -> bool:
    # Hugging Face's Audio feature has the same two fields, so the type alone proves nothing.
    if value["bytes"] is not None:
        return image_extension_of(value["bytes"][:32]) is not None
    return value["path"] is not None and looks_like_image_name(value["path"])


def _is_called_so(column: ImageColumn, values: list[Any], exists: Callable[[str], bool]) -> bool:
    """Return whether the name says that these are images and the values do not contradict it."""
    if _rank(column) >= len(_HINTS) + 1:
        return False
    if column.kind == "path":
        # One file has to be there: a table about images that lie elsewhere is a plain table.
        named = sum(looks_like_image_name(value) for value in values)
        return 2 * named > len(values) and any(map(exists, values))
    return column.kind == "struct" and not values


def _may_name_image(value: str) -> bool:
    """Return whether a path has an image's extension, or none at all."""
    return looks_like_image_name(value) or PurePosixPath(value).suffix == ""


def _rank(column: ImageColumn) -> int:
    name = column.name.lower()
    if name in _HINTS:
        return _HINTS.index(name)
    return len(_HINTS) + (0 if name.startswith(("image", "img")) else 1)


def _safe_basename(value: str) -> str:
    last = value.replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = "".join(char for char in last if unicodedata.category(char) not in _UNSAFE_CATEGORIES)
    # No leading dot either: a hidden file would be taken for litter.
    stem, suffix = posixpath.splitext(shown.strip().lstrip(". "))
    suffix = suffix if len(suffix.encode()) <= 16 else ""
    room = _MAX_BASENAME_BYTES - len(suffix.encode())
    short = stem.encode()[:room].decode(errors="ignore").rstrip(". ")
    return f"{short or 'file'}{suffix.rstrip('. ')}"


def _spellings(value: str) -> Iterator[str]:
    """Yield a path as it is, with ``/`` for ``\\``, and in the other Unicode normal forms.

    Windows writes backslashes, and macOS decomposes accents in file names but not in tables.
    """
    slashed = value.replace("\\", "/")
    forms = (unicodedata.normalize(form, slashed) for form in ("NFC", "NFD"))
    yield from dict.fromkeys((value, slashed, *forms))


def _is_file_inside(root: Path, name: str) -> bool:
    try:
        real = Path(os.path.realpath(root / name))
        return real.is_file() and real.is_relative_to(os.path.realpath(root))
    except (OSError, ValueError):  # no file can be called so: 5 000 characters, a lone surrogate
        return False
