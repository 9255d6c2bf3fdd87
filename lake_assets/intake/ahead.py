"""What can begin before an upload is ingested: the process that workers are forked from.

Invariant: this is a guess and only costs or saves time. What it cannot read is told by whoever
needs it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import suppress

from lake_assets.intake.manifest import LIST_FILE
from lake_assets.intake.uploads import Upload
from lake_assets.media.worker_processes import start_server

_LOOKED_AT = 32


def start_ahead(upload: Upload) -> None:
    """Have the server of the workers start, if the upload seems to bring new images.

    It imports for half a second, while this process imports what it needs itself.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        if any(_is_new(upload, name) for name in _first_images(upload)):
            start_server()


def _first_images(upload: Upload) -> Iterator[str]:
    with (upload.folder / LIST_FILE).open(encoding="utf-8") as file:
        for line in itertools.islice(file, _LOOKED_AT):
            item = json.loads(line)
            if item["role"] == "image":
                yield item["name"]


def _is_new(upload: Upload, name: str) -> bool:
    # An image that the dataset has was not copied: it is another name of its shard.
    return (upload.files_folder / name).stat().st_nlink == 1
