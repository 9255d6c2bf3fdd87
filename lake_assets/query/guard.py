"""Keep SQL from writing into the lake's own folder.

DuckDB can allow folders, but not forbid one, and then it could not read files elsewhere either. So
each statement's target is looked at before it runs. That is a guard against slips, not a wall: a
hard link, an extension or SQL that is put together while it runs gets past it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from lake_assets.errors import QueryFailed

_PLAIN_TEXT = re.compile(r"'((?:[^']|'')*)'(?:\s|--[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SCHEME = re.compile(r"([a-z][a-z_0-9]+):(?://(?:localhost(?=/))?)?", re.IGNORECASE)
_ELSEWHERE = ("", ":memory:")
_PLACES = ("_path", "_directory", "_output")
"""How the names of settings end that are places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    text: str
    """With the blanks and comments that follow."""
    kind: Any
    """``duckdb.token_type``."""

    @property
    def word(self) -> str:
        """What it says, in lower case and without quotes."""
        return self.text.split("--")[0].split("/*")[0].strip().strip('"').lower()


def require_outside(connection: Any, sql: str, home: Path) -> None:
    """Raise if a statement would write a file below ``home``, or open one there to write to it.

    Of COPY, EXPORT, ATTACH, CALL and SET. Symbolic links and relative paths are followed.

    Raises:
        QueryFailed: also where a statement's target is not written out, so that nothing can be
            said of it.
        duckdb.Error: the text is no SQL.
    """
    if "enable_logging" in sql.lower():  # also a function of SELECT
        raise _refused("enable_logging writes files", sql)
    real = Path(os.path.realpath(home))
    for statement in connection.extract_statements(sql):
        for text in _targets(statement, sql):
            if _meets(text, real):
                raise _refused(f"{text!r} lies in the folder of the lake, {home}, or holds it", sql)


def _refused(why: str, sql: str) -> QueryFailed:
    return QueryFailed(
        f"this SQL is refused, for it may change the lake's own files: {why}. Write to a file in "
        "another folder, and name it in single quotes",
        sql=sql,
    )


def _targets(statement: Any, sql: str) -> Iterator[str]:
    """Yield the paths that a statement may write to."""
    kinds = duckdb.StatementType
    # What DuckDB made of one statement, as of a pivot, has no text of its own.
    tokens = _tokens(statement.query or sql)
    if statement.type in (kinds.COPY, kinds.EXPLAIN, kinds.PREPARE):
        for number, token in enumerate(tokens):
            if number == 0 or token.word == ";":
                yield from _copied_to(tokens[number:], sql)
    elif statement.type in (kinds.EXPORT, kinds.ATTACH, kinds.CALL):
        yield from _all_texts(tokens, sql)
    elif statement.type == kinds.SET and _sets_a_place(tokens):
        yield from _all_texts(tokens, sql)


def _copied_to(tokens: Sequence[_Token], sql: str) -> Iterator[str]:
    """Yield the target of the first COPY TO."""
    depth, is_copy = 0, False
    for number, token in enumerate(tokens):
        depth += (token.word == "(") - (token.word == ")")
        if depth or token.kind != duckdb.token_type.keyword:
            continue
        is_copy = is_copy or token.word == "copy"
        if is_copy and token.word == "to":
            target, options = tokens[number + 1], tokens[number + 2 :]
            if target.word != "stdout":
                yield _plain(target, sql)
            # As a pattern of file names that leads out of the folder that is named.
            if any(".." in option.text for option in options):
                raise _refused("an option of COPY has '..'", sql)
            return


def _all_texts(tokens: Sequence[_Token], sql: str) -> Iterator[str]:
    for token in tokens:
        if token.kind == duckdb.token_type.string_const:
            yield _plain(token, sql)


def _sets_a_place(tokens: Sequence[_Token]) -> bool:
    return any(token.word.endswith(_PLACES) for token in tokens)


def _plain(token: _Token, sql: str) -> str:
    match = _PLAIN_TEXT.fullmatch(token.text)
    if match is None:
        raise _refused(f"where {token.text.strip()} leads cannot be told beforehand", sql)
    return match[1].replace("''", "'")


def _tokens(text: str) -> list[_Token]:
    raw = text.encode()  # offsets are those of bytes
    found = duckdb.tokenize(text)
    ends = [offset for offset, _ in (*found[1:], (len(raw), None))]
    return [
        _Token(text=raw[start:end].decode(), kind=kind)
        for (start, kind), end in zip(found, ends, strict=True)
    ]


def _meets(text: str, home: Path) -> bool:
    """Return whether a path leads into ``home``, or is a folder around it."""
    while text not in _ELSEWHERE and (scheme := _SCHEME.match(text)):
        text = text[scheme.end() :]  # file:, sqlite:
    if text in _ELSEWHERE:
        return False
    if text == "~" or text.startswith("~/"):
        text = str(Path(text).expanduser())
    # Not Path.resolve: that takes a loop of links for an error.
    real = Path(os.path.realpath(text))
    return real.is_relative_to(home) or home.is_relative_to(real)
