"""Tell a file that is damaged from one that cannot be read just now."""

from __future__ import annotations

import errno

from lake_assets.errors import RetryableError

# Nothing there, something else in its place, or a disk that has lost the bytes.
_DAMAGE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO})


def says_damage(error: BaseException) -> bool:
    """Return whether an error speaks of the content of a file, or of a file that is gone.

    False: the system refuses to read it (no right to, too many open files, no memory, a server
    that does not answer), or another error was raised because of that. It may be whole.
    """
    seen: BaseException | None = error
    while seen is not None:
        # Libraries raise OSError without a number for bytes that they cannot make sense of.
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen.errno in _DAMAGE
        seen = seen.__cause__
    return True


def is_passing(error: BaseException) -> bool:
    """Return whether the same call may work later, so that nobody knows yet what is wrong."""
    return isinstance(error, RetryableError) or not says_damage(error)
