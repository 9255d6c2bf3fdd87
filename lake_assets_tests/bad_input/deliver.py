"""A process that delivers what it is told to into a lake of its own, and says what became of it.

One request a line on its input, one answer a line on its output, both JSON. It is a process so that
a delivery that kills or hangs it fails one test and not all.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from lake_assets.errors import LakeError, UploadsFailed
from lake_assets.intake.formats import data_format
from lake_assets.intake.model import ReadOptions, StagedFile
from lake_assets.intake.readers import read_upload
from lake_assets.intake.uploads import Upload
from lake_assets.lake import Lake

COUNTS = ("rows_in", "accepted", "rejected", "duplicate")


def main(home: str) -> None:
    """Answer requests until the input ends."""
    with Lake.init(home) as lake:
        lake.create_provider("acme")
        for line in sys.stdin:
            request = json.loads(line)
            answers = read(request["read"]) if "read" in request else deliver(lake, request)
            sys.stdout.write(json.dumps({"verdicts": answers, "peak_bytes": _peak_bytes()}) + "\n")
            sys.stdout.flush()


# -- whole deliveries


def deliver(lake: Lake, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Upload each source, then ingest all that was not refused, and say what became of each."""
    staged = [_stage(lake, item) for item in request["sources"]]
    trouble = _ingest(lake)
    rejected = _rejected_rows(lake)
    return [
        _with_leftovers(lake, item | trouble)
        if isinstance(item, dict)
        else _with_leftovers(lake, _outcome(lake, item, rejected) | trouble)
        for item in staged
    ]


def _stage(lake: Lake, item: dict[str, Any]) -> Upload | dict[str, Any]:
    # The path travels as bytes: it may be no valid UTF-8.
    source = Path(bytes.fromhex(item["path"]).decode("utf-8", "surrogateescape"))
    started = time.monotonic()
    try:
        return lake.upload_raw_data(
            source, provider="acme", dataset=item["dataset"], **item["options"]
        )
    except LakeError as error:
        return _error("refused", error) | {"seconds": time.monotonic() - started}
    except Exception as error:  # noqa: BLE001 – that there is none is what is tested
        return _error("other", error)


def _ingest(lake: Lake) -> dict[str, Any]:
    try:
        lake.ingest_pending()
    except UploadsFailed:
        pass
    except Exception as error:  # noqa: BLE001 – that there is none is what is tested
        return _error("other", error)
    return {}


def _outcome(
    lake: Lake, upload: Upload, rejected: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    status = lake.status(upload.id)
    if status.error is not None:
        report = status.upload.error() or {}
        kind = "failed" if report.get("traceback") is None else "other"
        trace = report.get("traceback") or ""
        return {"kind": kind, "error": report["error"], "message": status.error, "trace": trace}
    if status.outcome is None or status.upload.state != "done":
        return {"kind": str(status.upload.state), "message": "it is not finished"}
    counts = {name: getattr(status.outcome, name) for name in COUNTS}
    return {"kind": "done", **counts, "rejections": rejected.get(upload.id, [])}


def _rejected_rows(lake: Lake) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    if lake.stores.tables.exists("lake.quarantine"):
        for row in lake.stores.tables.read("lake.quarantine").to_pylist():
            kept = {key: row[key] for key in ("file", "row", "rule", "path", "actual", "row_json")}
            found.setdefault(row["_upload_id"], []).append(kept)
    return found


def _with_leftovers(lake: Lake, answer: dict[str, Any]) -> dict[str, Any]:
    staging = lake.home / "staging"
    left = [path for state in ("incoming", "processing") for path in (staging / state).iterdir()]
    return answer | {"leftovers": sorted(str(path.relative_to(staging)) for path in left)}


# -- single files, through the readers only


def read(paths: list[str]) -> list[dict[str, Any]]:
    """Read each file as the only one of an upload, and say what came out."""
    return [_read(Path(path)) for path in paths]


def _read(path: Path) -> dict[str, Any]:
    file = StagedFile(
        name=path.name,
        byte_count=path.stat().st_size,
        sha256="0" * 64,
        role="data" if data_format(path) else "other",
    )
    accepted = rejected = 0
    try:
        for batch in read_upload(path.parent, (file,), ReadOptions()):
            accepted += batch.rows.num_rows
            rejected += len(batch.rejected)
            batch.rows.validate(full=True)
    except LakeError as error:
        return _error("refused", error) | {"names_its_file": error.context.get("file") == path.name}
    except Exception as error:  # noqa: BLE001 – that there is none is what is tested
        return _error("other", error)
    total = accepted + rejected
    return {"kind": "done", "rows_in": total, "accepted": accepted, "rejected": rejected}


def _error(kind: str, error: Exception) -> dict[str, Any]:
    return {
        "kind": kind,
        "error": type(error).__name__,
        "message": error.message if isinstance(error, LakeError) else str(error),
        "trace": "" if isinstance(error, LakeError) else traceback.format_exc()[-2000:],
    }


def _peak_bytes() -> int:
    """Return the most memory that this process ever had."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: a process begins with that of the one which started it, here pytest's.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1])
