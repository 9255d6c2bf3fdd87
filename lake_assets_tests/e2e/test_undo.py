"""An upload that is taken out leaves what a lake would have that never had it."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lake_assets.contracts.datasets import DatasetContract
from lake_assets.contracts.names import DatasetName, Destination, VariantName
from lake_assets.contracts.registry import update_registry
from lake_assets.contracts.tasks import TaskContract
from lake_assets.errors import FewerRows, InvalidRequest
from lake_assets.ingest import Request, session
from lake_assets.ingest.model import Group
from lake_assets.ingest_here import ingest_names, rebuild
from lake_assets.intake.uploads import State
from lake_assets.lake import Lake
from lake_assets.stores import Stores
from lake_assets.undoing import plan_revision, revise
from lake_assets.upkeep.verify import Choice, Severity, verify
from lake_assets.upkeep.verify import Request as VerifyRequest

SLIPS, SALES = DatasetName("shop", "slips"), DatasetName("shop", "sales")
READ = VariantName(SLIPS, "notes", "read")
_PER_RUN = {"_ingested_at", "upload_time", "rejected_at", "replayed_at"}


def _jpeg(name: str) -> bytes:
    chance = random.Random(name)
    sink = io.BytesIO()
    Image.frombytes("RGB", (24, 24), chance.randbytes(24 * 24 * 3)).save(sink, "JPEG")
    return sink.getvalue()


def write_deliveries(folder: Path) -> tuple[Path, ...]:
    """Write five deliveries: images that come twice, rows that drift, rows that are rejected."""
    for name, images in (("one", "ab"), ("two", "bc"), ("three", "cd")):
        (folder / name).mkdir(parents=True)
        for image in images:
            (folder / name / f"{image}.jpg").write_bytes(_jpeg(image))
    (folder / "two" / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    (folder / "whole.csv").write_text("id,amount\n1,10\n2,20\n")
    (folder / "fractions.csv").write_text("id,amount,note\n3,30\n4,40.5,late\n")
    (folder / "notes.jsonl").write_text(
        "".join(json.dumps({"image": f"{i}.jpg", "said": i}) + "\n" for i in "abcd")
    )
    return tuple(folder / name for name in ("one", "two", "three", "whole.csv", "fractions.csv"))


class Trial:
    """A lake with some of the deliveries; their uploads go and come back."""

    def __init__(self, home: Path, deliveries: Sequence[Path]) -> None:
        self.lake = Lake.init(home)
        self.lake.create_provider("shop")
        self.lake.create_task("notes", TaskContract(fields={"said": "string"}, image_field="image"))
        self.ids: dict[str, str] = {}
        for path in deliveries:
            of = SALES if path.suffix else SLIPS
            upload = self.lake.upload_raw_data(path, provider="shop", dataset=of.dataset)
            self.lake.ingest(upload.id)
            self.ids[path.name] = upload.id

    def annotate(self, path: Path) -> None:
        where = {"provider": "shop", "dataset": "slips", "task": "notes", "variant": "read"}
        upload = self.lake.upload_task_data(path, **where)
        self.lake.ingest(upload.id)
        self.ids[path.name] = upload.id

    def revise(self, name: str, *, is_undo: bool) -> None:
        revise(self.lake.stores, self.ids[name], is_undo=is_undo)

    def rows(self) -> dict[str, list[str]]:
        """Return the rows of each table, uploads by the names of what they delivered."""
        names = {upload_id: name for name, upload_id in self.ids.items()}
        found = {
            "images": "select * from lake.images",
            "quarantine": "select * exclude (quarantine_id) from lake.quarantine",
            "ledger": "select upload_id, accepted, rejected, duplicate, rows_in, images_stored "
            "from lake.uploads where kind != 'undone'",
        }
        rows = {table: _plain(self._sql(query), names) for table, query in found.items()}
        for name in (SLIPS, SALES, READ):
            if self.lake.stores.tables.exists(name.table):
                rows[str(name)] = _plain(self.lake.records(name), names)
        return rows

    def columns(self) -> dict[str, list[str]]:
        """Return the columns of each dataset's table that has rows, with their types."""
        tables = self.lake.stores.tables
        schemas = {str(n): tables.schema(n.table) for n in (SLIPS, SALES) if tables.exists(n.table)}
        return {name: sorted(map(str, schema)) for name, schema in schemas.items()}

    def _sql(self, query: str) -> list[dict[str, Any]]:
        table: list[dict[str, Any]] = self.lake.sql(query).to_arrow_table().to_pylist()
        return table

    def is_clean(self) -> bool:
        """Return whether verification has nothing to say, and every blocking check passes."""
        report = verify(self.lake.stores, VerifyRequest(choice=Choice(is_full=True)))
        told = [item for item in report.findings if item.severity is not Severity.NOTICE]
        failed = [c.name for _, c, result in self.lake.check() if c.blocking and not result.passed]
        assert (told, failed) == ([], [])
        return True


def _plain(rows: Iterable[dict[str, Any]], names: dict[str, str]) -> list[str]:
    found = []
    for row in rows:
        kept = {
            key: value for key, value in row.items() if key not in _PER_RUN and value is not None
        }
        text = json.dumps(kept, sort_keys=True, default=str)
        for upload_id, name in names.items():
            text = text.replace(upload_id, f"<{name}>")
        found.append(text)
    return sorted(found)


@pytest.fixture(scope="module")
def deliveries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_deliveries(tmp_path_factory.mktemp("deliveries"))


@pytest.mark.parametrize("gone", ["one", "two", "three", "whole.csv", "fractions.csv"])
def test_what_is_left_is_what_a_lake_has_that_never_had_it(
    gone: str, deliveries: tuple[Path, ...], tmp_path: Path
):
    trial = Trial(tmp_path / "lake", deliveries)
    always = trial.rows(), trial.columns()
    trial.revise(gone, is_undo=True)
    never = Trial(tmp_path / "other", [path for path in deliveries if path.name != gone])
    assert (trial.rows(), trial.columns()) == (never.rows(), never.columns())
    assert trial.is_clean()
    assert trial.lake.status(trial.ids[gone]).upload.state is State.REMOVED
    trial.revise(gone, is_undo=False)
    assert (trial.rows(), trial.columns()) == always
    assert trial.is_clean()


def test_annotations_follow_their_images_into_the_quarantine_and_back(
    deliveries: tuple[Path, ...], tmp_path: Path
):
    trial = Trial(tmp_path / "lake", deliveries)
    trial.annotate(deliveries[0].parent / "notes.jsonl")
    before = trial.rows()
    plan = plan_revision(trial.lake.stores, trial.ids["three"], is_undo=True)
    assert (plan.images_before, plan.images, plan.annotations) == (4, 3, 1)
    assert (plan.rows_before, plan.rows, plan.variants) == (4, 3, (str(READ),))
    assert trial.rows() == before  # a plan changes nothing
    trial.revise("three", is_undo=True)
    assert sorted(row["said"] for row in trial.lake.records(READ)) == ["a", "b", "c"]
    (rejected,) = [row for row in trial.lake.quarantine() if row["task"] == "notes"]
    assert (rejected["rule"], json.loads(rejected["row_json"])["said"]) == (
        "records_refer_to_known_images",
        "d",
    )
    assert trial.is_clean()
    trial.revise("three", is_undo=False)
    assert trial.rows() == before
    assert trial.is_clean()


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations(["one", "two", "three", "whole.csv", "fractions.csv"]), data=st.data())
def test_in_any_order(
    order: list[str],
    data: st.DataObject,
    deliveries: tuple[Path, ...],
    tmp_path_factory: pytest.TempPathFactory,
):
    folder = tmp_path_factory.mktemp("any_order")
    trial = Trial(folder / "lake", deliveries)
    gone: set[str] = set()
    for name in order[: data.draw(st.integers(2, 5))]:
        trial.revise(name, is_undo=True)
        gone.add(name)
        if data.draw(st.booleans()):
            back = data.draw(st.sampled_from(sorted(gone)))
            trial.revise(back, is_undo=False)
            gone.remove(back)
    left = [path for path in deliveries if path.name not in gone]
    assert trial.rows() == Trial(folder / "other", left).rows() | _empty(trial, left)
    assert trial.is_clean()


def _empty(trial: Trial, left: Sequence[Path]) -> dict[str, list[str]]:
    """Return what a lake has of datasets of which no upload is left: their empty tables."""
    delivered = {SALES if path.suffix else SLIPS for path in left}
    return {str(name): [] for name in (SLIPS, SALES) if name not in delivered}


def _with_annotations(deliveries: Sequence[Path], home: Path) -> Trial:
    trial = Trial(home, deliveries[:3])
    trial.annotate(deliveries[0].parent / "notes.jsonl")
    return trial


def _orphans(lake: Lake) -> int:
    query = (
        f"select count(*) from {READ.table} where _image not in (select sha256 from lake.images)"
    )
    ((count,),) = lake.sql(query).fetchall()
    return int(count)


@pytest.mark.parametrize("is_undo", [True, False], ids=["undo", "redo"])
def test_annotations_that_others_read_too_early_are_read_again(
    is_undo: bool, deliveries: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trial = _with_annotations(deliveries, tmp_path / "lake")
    if not is_undo:
        trial.revise("three", is_undo=True)
    move = session.move_uploads

    def between(stores: Stores, request: Request, group: Group | None) -> Group | None:
        """The images are still the old ones: another process works on the annotations now."""
        if request.name == SLIPS:
            with Lake.open(trial.lake.home) as other:
                rebuild(other.stores, READ)
        return move(stores, request, group)

    monkeypatch.setattr(session, "move_uploads", between)
    trial.revise("three", is_undo=is_undo)
    assert _orphans(trial.lake) == 0
    assert len(list(trial.lake.records(READ))) == (3 if is_undo else 4)
    assert trial.is_clean()


@pytest.mark.parametrize("first", [READ, SLIPS], ids=["annotations first", "images first"])
def test_annotations_are_read_again_after_a_death(
    first: Destination,
    deliveries: tuple[Path, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    trial = _with_annotations(deliveries, tmp_path / "lake")
    move = session.move_uploads

    def dies(stores: Stores, request: Request, group: Group | None) -> Group | None:
        move(stores, request, group)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "move_uploads", dies)
    with pytest.raises(KeyboardInterrupt):
        trial.revise("three", is_undo=True)
    monkeypatch.undo()
    ingest_names(trial.lake.stores, [first])
    trial.lake.ingest_pending()
    assert (_orphans(trial.lake), len(list(trial.lake.records(READ)))) == (0, 3)
    assert trial.is_clean()


def test_a_rebuild_that_is_asked_for_while_another_one_reads_is_not_forgotten(
    deliveries: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trial = Trial(tmp_path / "lake", deliveries[3:])
    for name in ("archived_uploads", "move_uploads"):
        what = getattr(session, name)

        def asked(stores: Stores, *rest: Any, what: Any = what) -> Any:
            stores.rebuilds.put(SALES)
            return what(stores, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(session, name, asked)
            trial.lake.rebuild(SALES)
        assert trial.lake.stores.rebuilds.has(SALES)
        trial.lake.ingest_pending()
        assert not trial.lake.stores.rebuilds.has(SALES)


def _promise(lake: Lake, **contract: Any) -> None:
    made = DatasetContract.model_validate(contract)
    path = lake.stores.layout.registry_file
    update_registry(path, lambda registry: registry.with_dataset(SALES, made))


@pytest.mark.parametrize("drift", ["evolve", "freeze", "quarantine"])
def test_columns_of_which_nothing_is_left_do_not_bind_the_next_upload(drift: str, tmp_path: Path):
    lake = Lake.init(tmp_path / "lake")
    lake.create_provider("shop")
    _promise(lake, drift=drift)
    for text in ("id,wrong\n1,2\n", "id,right\n1,2.5\n"):
        (tmp_path / "rows.csv").write_text(text)
        upload = lake.upload_raw_data(tmp_path / "rows.csv", provider="shop", dataset="sales")
        lake.ingest(upload.id)
        if "wrong" in text:
            revise(lake.stores, upload.id, is_undo=True)
    (row,) = lake.records(SALES)
    assert {key: value for key, value in row.items() if not key.startswith("_")} == {
        "id": 1,
        "right": 2.5,
    }


def test_every_change_of_columns_is_told_however_often(
    deliveries: tuple[Path, ...], tmp_path: Path
):
    trial = Trial(tmp_path / "lake", deliveries[3:])
    for is_undo in (True, False, True):
        trial.revise("fractions.csv", is_undo=is_undo)
    told = trial.lake.sql(
        "select path, change, old_type, new_type from lake.schema_changes order by changed_at, path"
    ).fetchall()
    grows = [("amount", "rewritten", "long", "double"), ("note", "added", None, "string")]
    shrinks = [("amount", "rewritten", "double", "long"), ("note", "dropped", "string", None)]
    assert told == [*grows, *shrinks, *grows, *shrinks]


def test_rows_that_a_replay_took_in_go_with_the_upload_that_brought_them(tmp_path: Path):
    for name, text in (("first", '{"x": 1}'), ("wrong", '{"x": "w"}'), ("other", '{"x": "z"}')):
        (tmp_path / f"{name}.jsonl").write_text(text + "\n")
    lake = Lake.init(tmp_path / "lake")
    lake.create_provider("shop")
    _promise(lake, drift="quarantine")
    ids = {}
    for name in ("first", "wrong", "other"):
        path = tmp_path / f"{name}.jsonl"
        ids[name] = lake.upload_raw_data(path, provider="shop", dataset="sales").id
        lake.ingest(ids[name])
    _promise(lake, drift="evolve")
    lake.replay_quarantine()
    lake.ingest_pending()
    for is_undo, left in ((True, [1, "z"]), (False, [1, "w", "z"])):
        revise(lake.stores, ids["wrong"], is_undo=is_undo)  # which is not to be asked for twice
        assert sorted((row["x"] for row in lake.records(SALES)), key=str) == left


def test_rows_of_others_do_not_go_unseen(deliveries: tuple[Path, ...], tmp_path: Path):
    (tmp_path / "words.csv").write_text("id,amount\n1,a\n2,4\n")
    (tmp_path / "more.csv").write_text("id,amount\n3,5\n")
    trial = Trial(tmp_path / "lake", [tmp_path / "words.csv", tmp_path / "more.csv"])
    _promise(trial.lake, columns={"amount": "long"})
    before = trial.rows()
    plan = plan_revision(trial.lake.stores, trial.ids["more.csv"], is_undo=True)
    assert (plan.rows_before, plan.rows, plan.loses_rows) == (3, 1, True)
    assert plan.rejected_by_rule == {"fields_hold_their_types": 1}
    with pytest.raises(FewerRows, match="1 of 2 accepted rows that came with other uploads"):
        trial.revise("more.csv", is_undo=True)
    assert trial.rows() == before
    upload_id = trial.ids["more.csv"]
    revise(trial.lake.stores, upload_id, is_undo=True, accepts_fewer_rows=True)
    assert [row["amount"] for row in trial.lake.records(SALES)] == [4]


def test_what_was_taken_out_can_be_delivered_anew(deliveries: tuple[Path, ...], tmp_path: Path):
    trial = Trial(tmp_path / "lake", deliveries)
    trial.revise("whole.csv", is_undo=True)
    again = trial.lake.upload_raw_data(deliveries[3], provider="shop", dataset="sales")
    trial.lake.ingest(again.id)
    outcome = trial.lake.status(again.id).outcome
    assert outcome is not None
    assert (outcome.accepted, outcome.duplicate) == (2, 0)


def test_the_catalog_and_the_ledger_say_that_it_is_gone(
    deliveries: tuple[Path, ...], tmp_path: Path
):
    trial = Trial(tmp_path / "lake", deliveries[3:4])
    upload_id = trial.ids["whole.csv"]
    trial.revise("whole.csv", is_undo=True)
    (entry,) = trial.lake.catalog()
    assert (entry["rows"], entry["uploads"], entry["last_upload_id"]) == (0, 0, None)
    ledger = trial.lake.sql("select upload_id, kind, accepted from lake.uploads").fetchall()
    assert ledger == [(upload_id, "undone", 0)]


def test_what_is_not_in_the_tables_is_not_taken_out(deliveries: tuple[Path, ...], tmp_path: Path):
    trial = Trial(tmp_path / "lake", deliveries[3:4])
    pending = trial.lake.upload_raw_data(deliveries[4], provider="shop", dataset="sales")
    before = trial.rows()
    with pytest.raises(InvalidRequest, match="process cancel"):
        revise(trial.lake.stores, pending.id, is_undo=True)
    with pytest.raises(InvalidRequest, match="it is in the tables"):
        revise(trial.lake.stores, trial.ids["whole.csv"], is_undo=False)
    trial.revise("whole.csv", is_undo=True)
    with pytest.raises(InvalidRequest, match="lake upload redo"):
        trial.revise("whole.csv", is_undo=True)
    with pytest.raises(InvalidRequest, match="lake upload redo"):
        trial.lake.ingest(trial.ids["whole.csv"])
    assert trial.lake.status(pending.id).upload.state is State.PENDING
    trial.revise("whole.csv", is_undo=False)
    assert trial.rows() == before
