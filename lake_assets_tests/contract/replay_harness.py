"""A lake whose contracts are corrected after rows were rejected, and one where they always held."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName, Destination, VariantName
from lake_assets.contracts.registry import update_registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.ingest.model import Outcome
from lake_assets.lake import Lake
from lake_assets.replays import Trial, stage_replays, try_replays
from lake_assets.upkeep.quarantine import Wanted, rows_of
from lake_assets.upkeep.verify import Choice, Request, verify

DATA = DatasetName("acme", "data")
NOTES = VariantName(DATA, "notes", "v1")
_UPLOAD = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


@dataclass
class Replays:
    """Delivers, corrects, replays, and looks after each step whether all adds up."""

    home: Path
    scratch: Path
    settings: dict[str, object] = field(default_factory=lambda: {"workers": 1})

    def __post_init__(self) -> None:
        with Lake.init(self.home) as lake:
            lake.create_provider("acme")
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.set()

    def lake(self) -> Lake:
        return Lake.open(self.home)

    def set(self, **settings: object) -> None:
        """Change lake.toml."""
        self.settings |= settings
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in self.settings.items()]
        (self.home / "lake.toml").write_text("".join(lines))

    def promise(self, **contract: Any) -> None:
        self._change(lambda r: r.with_dataset(DATA, DatasetContract.model_validate(contract)))

    def promise_notes(self, **contract: Any) -> None:
        """Make or correct the task."""
        made = TaskContract.model_validate({"record_type": None, **contract})
        self._change(
            lambda r: (r.without_task("notes") if "notes" in r.tasks else r).with_task(
                "notes", made
            )
        )

    def _change(self, change: Any) -> None:
        update_registry(self.home / "config" / "schema.yaml", change)

    # -- deliveries

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def jsonl(self, name: str, *rows: object) -> Path:
        texts = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        return self.write(name, "".join(f"{text}\n" for text in texts))

    def stage(self, source: Path, name: Destination = DATA, **more: Any) -> str:
        with self.lake() as lake:
            to = {"provider": name.provider, "dataset": name.dataset}
            if isinstance(name, VariantName):
                to |= {"task": name.task, "variant": name.variant}
                return lake.upload_task_data(source, **to, **more).id
            return lake.upload_raw_data(source, **to, **more).id

    def deliver(self, source: Path, name: Destination = DATA, **more: Any) -> Outcome:
        upload_id = self.stage(source, name, **more)
        (outcome,) = [o for o in self.ingest() if o.upload_id == upload_id]
        return outcome

    def ingest(self) -> list[Outcome]:
        with self.lake() as lake:
            return [outcome for done in lake.ingest_pending() for outcome in done.outcomes]

    # -- the quarantine

    def replay(self, **wanted: Any) -> Outcome:
        """Replay in the one dataset or variant that has such rows."""
        (upload_id,) = self.stage_replays(**wanted)
        (outcome,) = [outcome for outcome in self.ingest() if outcome.upload_id == upload_id]
        self.adds_up()
        return outcome

    def stage_replays(self, **wanted: Any) -> list[str]:
        with self.lake() as lake:
            return [upload.id for upload in stage_replays(lake.stores, Wanted(**wanted))]

    def try_replay(self, **wanted: Any) -> Trial:
        with self.lake() as lake:
            (trial,) = try_replays(lake.stores, Wanted(**wanted))
        return trial

    def quarantine(self, **wanted: Any) -> list[dict[str, Any]]:
        with self.lake() as lake:
            rows = rows_of(lake.stores, Wanted(**{"state": None, **wanted}))
        return sorted(rows, key=lambda row: (row["_upload_id"], row["file"], row["row"] or 0))

    def open_rules(self) -> list[str]:
        return [row["rule"] for row in self.quarantine(state="open")]

    def states(self) -> Counter[str]:
        return Counter(row["state"] for row in self.quarantine())

    # -- the table

    def records(self, name: Destination = DATA) -> list[dict[str, Any]]:
        """Return the table's rows, without which upload brought them and when."""
        with self.lake() as lake:
            rows = lake.stores.tables.read(name.table).to_pylist()
        hidden = ("_upload_id", "_ingested_at")
        plain = ({k: v for k, v in row.items() if k not in hidden} for row in rows)
        return sorted(plain, key=lambda row: json.dumps(row, sort_keys=True, default=str))

    def record_places(self) -> list[str]:
        """Return the ids of rows without a key, as ``<number of upload>-<file>-<row>``."""
        with self.lake() as lake:
            order = {upload.id: str(n) for n, upload in enumerate(lake.uploads())}
        ids = [row["_record_id"] for row in self.records()]
        return sorted(_UPLOAD.sub(lambda found: order[found[0]], text) for text in ids)

    # -- what always holds

    def adds_up(self) -> None:
        """Rows are accounted for, the checks pass, nobody's row is in the quarantine twice."""
        with self.lake() as lake:
            wrong = [
                f"{check.name} of {name}: {result.summary}"
                for name, check, result in lake.check()
                if check.blocking and not result.passed
            ]
            ledger = lake.stores.tables.read("lake.uploads").to_pylist()
        assert not wrong, wrong
        for row in ledger:
            assert row["rows_in"] == row["accepted"] + row["rejected"] + row["duplicate"]
        ids = Counter(row["quarantine_id"] for row in self.quarantine())
        assert [key for key, count in ids.items() if count > 1] == []

    def is_whole(self) -> None:
        """`lake verify --full` finds nothing."""
        with self.lake() as lake:
            report = verify(lake.stores, Request(choice=Choice(is_full=True)))
        wrong = [item.message for kind in ("damage", "warning") for item in report.of(kind)]
        assert not wrong, wrong
