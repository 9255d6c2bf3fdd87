"""Where bad input is tried: a lake in a process of its own, and a look at everything around it.

Invariant: what is tried ends within its time limit, in a process that is still alive, as a verdict
that is one of few; and nothing outside the lake has changed.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FULL = os.environ.get("LAKE_TEST_FULL") == "1"
SEED = int(os.environ.get("LAKE_TEST_SEED") or int.from_bytes(os.urandom(4)))
"""Of every random choice here; printed at the end of a run."""
TIME_LIMIT_S = 180.0
UNPACKED_LIMIT_BYTES = 64 * 2**20
PEAK_LIMIT_BYTES = 2**30
"""Most memory of the process and of its workers."""

ENDS = ("done", "refused", "failed")
"""Done with rows; refused at upload; failed at ingestion."""


def sampled(few: int, many: int) -> int:
    """Return how many cases to try in this run."""
    return many if FULL else few


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one delivery."""

    kind: str
    """One of ``ENDS``; anything else is a fault."""
    rows_in: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    rejections: Sequence[Mapping[str, Any]] = ()
    error: str = ""
    message: str = ""
    trace: str = ""
    names_its_file: bool = True
    leftovers: Sequence[str] = ()
    seconds: float = 0.0

    @property
    def counts(self) -> tuple[int, int, int, int]:
        return self.rows_in, self.accepted, self.rejected, self.duplicate

    @property
    def rules(self) -> dict[str, str]:
        """The rule that each rejected file or row breaks."""
        return {_place(item): item["rule"] for item in self.rejections}

    def is_clear(self) -> None:
        """Fail unless this is an end that a person can work with."""
        assert self.kind in ENDS, f"{self.message}\n{self.trace}"
        assert self.leftovers == []
        if self.kind == "done":
            assert self.rows_in == self.accepted + self.rejected + self.duplicate
            assert len(self.rejections) == self.rejected
            assert all(item["rule"] and item["actual"] for item in self.rejections)
        else:
            # Only what trying again cannot mend; and in a sentence.
            assert self.error in ("InvalidRequest", "UnreadableSource", "UnsupportedFormat"), self
            assert len(self.message) > 20 and self.message.endswith("."), self.message


def _place(rejection: Mapping[str, Any]) -> str:
    if rejection["row"] is None:
        return str(rejection["file"])
    return rejection["path"] or f"{rejection['file']}#{rejection['row']}"


@dataclass(kw_only=True)
class Bench:
    """A folder with a lake in it, and the process that delivers into the lake."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    peak_bytes: int = 0
    _process: subprocess.Popen[str] | None = None
    _answers: queue.Queue[str] = field(default_factory=queue.Queue)
    _datasets: Iterator[int] = field(default_factory=itertools.count)
    _lakes: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        for name in ("cwd", "tmp", "home", "lake", "outside", "deliveries"):
            (self.root / name).mkdir(parents=True)
        (self.root / "outside" / "secret.png").write_bytes(b"not for the lake")

    def folder(self, name: str = "") -> Path:
        """Return a new empty folder to deliver."""
        path = self.root / "deliveries" / (name or f"d{next(self._datasets)}")
        path.mkdir()
        return path

    def file(self, name: str, content: bytes) -> Path:
        """Return a new file to deliver, alone in its folder."""
        path = self.folder() / name
        path.write_bytes(content)
        return path

    def deliver(self, source: Path, **more: Any) -> Verdict:
        """Deliver one source into a dataset of its own."""
        return self.deliver_all([source], **more)[0]

    def deliver_all(
        self,
        sources: Sequence[Path],
        *,
        dataset: str = "",
        time_limit_s: float = TIME_LIMIT_S,
        **options: Any,
    ) -> list[Verdict]:
        """Deliver each source as an upload, all into one dataset, and return their clear ends."""
        name = dataset or f"d{next(self._datasets)}"
        items = [
            {"path": os.fsencode(source).hex(), "dataset": name, "options": options}
            for source in sources
        ]
        before = self._around(sources)
        verdicts = self._ask({"sources": items}, time_limit_s)
        changed = {*self._around(sources).items()} ^ {*before.items()}
        assert not changed, f"something outside the lake has changed: {changed}"
        if any(verdict.kind not in ENDS for verdict in verdicts):
            self.close()  # others begin with a new lake, which this fault has not touched
        for verdict in verdicts:
            verdict.is_clear()
        return verdicts

    def read_all(
        self, paths: Sequence[Path], *, time_limit_s: float = TIME_LIMIT_S
    ) -> list[Verdict]:
        """Read each file through the readers alone, and return their clear ends."""
        verdicts = self._ask({"read": [str(path) for path in paths]}, time_limit_s)
        for path, verdict in zip(paths, verdicts, strict=True):
            assert verdict.kind in ("done", "refused"), (
                f"{path}: {verdict.message}\n{verdict.trace}"
            )
            assert verdict.names_its_file
        return verdicts

    def close(self) -> None:
        """End the process, and with it all that it started."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=60)
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()

    def _ask(self, request: dict[str, Any], time_limit_s: float) -> list[Verdict]:
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        try:
            line = self._answers.get(timeout=time_limit_s)
        except queue.Empty:
            self.close()
            raise AssertionError(f"it hangs: no answer within {time_limit_s} s") from None
        if not line:
            code = process.wait(timeout=60)
            self.close()
            raise AssertionError(f"the process died with {code}\n{self._log.read_text()[-4000:]}")
        answer = json.loads(line)
        self.peak_bytes = max(self.peak_bytes, answer["peak_bytes"])
        assert answer["peak_bytes"] < PEAK_LIMIT_BYTES, f"{answer['peak_bytes']:,} bytes of memory"
        return [Verdict(**verdict) for verdict in answer["verdicts"]]

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAKE_", "DAGSTER_"))}
            with self._log.open("a") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "lake_assets_tests.bad_input.deliver",
                     str(self.root / "lake" / str(next(self._lakes)))],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                    cwd=self.root / "cwd", start_new_session=True,
                    env=kept | self._own_environment(),
                )  # fmt: skip
            self._answers = queue.Queue()
            reader = threading.Thread(
                target=_pass_on, args=(self._process, self._answers), daemon=True
            )
            reader.start()
        return self._process

    def _own_environment(self) -> dict[str, str]:
        repository = Path(__file__).resolve().parents[2]
        return {
            "PYTHONPATH": str(repository),
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "LAKE_WORKERS": "1",
            "LAKE_MAX_UNPACKED_BYTES": str(UNPACKED_LIMIT_BYTES),
            **self.environment,
        }

    @property
    def _log(self) -> Path:
        return self.root / "lake.log"

    def _around(self, sources: Sequence[Path]) -> dict[str, tuple[int, ...]]:
        """Return what the sources, and all that lies beside the lake, looks like from outside."""
        # In "tmp" Python's own worker processes have their sockets.
        own = ("lake", "deliveries", "tmp")
        beside = [path for path in self.root.iterdir() if path.name not in own]
        return {
            f"{folder}/{name}": (status.st_mode, status.st_ino, status.st_mtime_ns, status.st_size)
            for top in {*beside, *(source.parent for source in sources)}
            if top.is_dir()
            # By descriptors: a path may be longer than a system call takes.
            for folder, folders, files, descriptor in os.fwalk(top)
            for name in (*folders, *files, ".")
            for status in [os.lstat(name, dir_fd=descriptor)]
        }


def _pass_on(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            answers.put(line)
    answers.put("")
