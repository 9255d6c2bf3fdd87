"""What a decoder raises becomes `UnreadableMedia`, with the sentence that the file breaks.

Invariant: whatever Pillow raises inside `decoder_errors_reject`, nothing else comes out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from lake_assets.errors import UnreadableMedia
from lake_assets.media.formats import claimed_format, describe, known_extensions

# Pillow's plugins parse hostile bytes with plain Python, and let through what that raises: these
# types are documented, came up in fuzzing, or follow from how the plugins are
# written. The first group mostly says that bytes are missing or wrong, the second that Pillow
# cannot cope. They are caught around Pillow's calls only, never around our own.
_DAMAGE = (OSError, EOFError, SyntaxError, struct.error, zlib.error, IndexError)
_CONFUSION = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    Image.DecompressionBombError,
)
DECODER_ERRORS = (*_DAMAGE, *_CONFUSION, MemoryError)


@contextmanager
def decoder_errors_reject(name: str, data: bytes = b"") -> Iterator[None]:
    """Turn what Pillow raises inside the block into `UnreadableMedia`; the only place that does.

    Args:
        name: What the delivery calls the image.
        data: The file, where the block finds out what it is.
    """
    try:
        yield
    except UnidentifiedImageError as error:
        raise _unidentified(data, name) from error
    except Image.DecompressionBombError as error:
        raise rejection(
            "image_is_within_pixel_limit", name, expected="a smaller image", actual=str(error)
        ) from error
    except MemoryError as error:  # of a worker, which may take so much and no more
        raise rejection(
            "image_fits_in_memory",
            name,
            expected="an image that decodes within the memory of a worker",
            actual="more than that",
        ) from error
    except _DAMAGE as error:
        raise rejection(
            "image_is_complete", name, expected="a whole, undamaged image", actual=_words(error)
        ) from error
    except _CONFUSION as error:
        raise rejection(
            "image_is_readable", name, expected="an image Pillow can decode", actual=_words(error)
        ) from error


def rejection(rule: str, name: str, *, expected: str, actual: str) -> UnreadableMedia:
    """Return the error that says which ``rule`` the image ``name`` breaks, and how."""
    return UnreadableMedia(
        f"{name}: expected {expected}, found {actual}. Deliver the file again, or leave it out.",
        rule=rule,
        name=name,
        expected=expected,
        actual=actual,
    )


def not_an_image(data: bytes, name: str) -> UnreadableMedia:
    """Return the error for ``data`` (not empty) that is something else, and says what."""
    known = ", ".join(known_extensions())
    return rejection("file_is_an_image", name, expected=f"one of {known}", actual=describe(data))


def _unidentified(data: bytes, name: str) -> UnreadableMedia:
    kind = claimed_format(data)
    if kind is None:
        return not_an_image(data, name)
    return rejection(
        "image_is_readable",
        name,
        expected=f"a {kind} header that parses",
        actual=f"{kind} signature, then nothing that Pillow knows",
    )


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
