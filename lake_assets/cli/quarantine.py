"""`lake quarantine`: rows that were rejected, why, and trying them again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake_assets.cli.context import Session, session
from lake_assets.cli.datasets import AsJson
from lake_assets.cli.questions import answer, known_dataset
from lake_assets.cli.words import instant_of

if TYPE_CHECKING:
    from lake_assets.lake import Lake
    from lake_assets.replays import Trial
    from lake_assets.upkeep.quarantine import Wanted

app = typer.Typer(no_args_is_help=True, help="Rows that were rejected, and trying them again.")

_SHORT_ID = 8
"""Digits of an id in a list; more where two rows would have the same."""
_SHOWN = 20


class RowState(StrEnum):
    """States of a row of the quarantine."""

    OPEN = "open"
    REPLAYED = "replayed"
    ALL = "all"


DatasetOption = Annotated[
    str | None, typer.Option(metavar="P/D", help="Only this dataset and what annotates it.")
]
TaskOption = Annotated[
    str | None, typer.Option(metavar="TASK", help="Only annotations of this kind; raw: rows alone.")
]
RuleOption = Annotated[
    str | None, typer.Option(metavar="RULE", help="Only rows that broke this rule.")
]
UploadOption = Annotated[
    str | None, typer.Option(metavar="ID", help="Only rows that this upload brought.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="Only later rejections: 2026-01-31, or an age as 12h, 7d."),
]


@app.command("list")
def list_rows(
    ctx: typer.Context,
    dataset: DatasetOption = None,
    task: TaskOption = None,
    rule: RuleOption = None,
    upload: UploadOption = None,
    since: SinceOption = None,
    state: Annotated[
        RowState, typer.Option(metavar="STATE", help=f"One of {', '.join(RowState)}.")
    ] = RowState.OPEN,
    limit: Annotated[int, typer.Option(min=0, help="Rows to print.")] = _SHOWN,
    as_json: AsJson = False,
) -> None:
    """Print how many rows broke which rule, and the newest of them."""
    from lake_assets.cli.output import print_json
    from lake_assets.upkeep.quarantine import counts_of, rows_of

    with session(ctx) as opened:
        wanted = _wanted(ctx, opened.lake, dataset, task, rule, upload, since, state)
        counts = counts_of(opened.lake.stores, wanted)
        rows = rows_of(opened.lake.stores, wanted, limit=limit)
    if as_json:
        print_json({"counts": counts, "rows": [_document(row) for row in rows]})
    else:
        _print_rows(counts, rows, state)


@app.command("show")
def show(
    ctx: typer.Context,
    row_id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="As `lake quarantine list` shows it, or its beginning."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print all that is known of a rejected row, and the row itself."""
    from lake_assets.cli.output import print_json
    from lake_assets.upkeep.quarantine import row_of

    with session(ctx) as opened:
        text = answer(ctx, row_id, what="argument 'ID'", question="Row of the quarantine")
        row = row_of(opened.lake.stores, text)
    if as_json:
        print_json(_document(row))
    else:
        _print_row(row)


@app.command("replay")
def replay(
    ctx: typer.Context,
    row_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Only these rows. Default: all that are open."),
    ] = None,
    dataset: DatasetOption = None,
    task: TaskOption = None,
    rule: RuleOption = None,
    upload: UploadOption = None,
    since: SinceOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would pass and what would stay.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Do it here, or in the background.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Try rejected rows again: those that pass by now go into their tables, once.

    The others stay, with their new reason. Rows are read from the uploads in staging/done.
    Exit codes are those of `lake process start --wait`.
    """
    with session(ctx) as opened:
        wanted = _wanted(ctx, opened.lake, dataset, task, rule, upload, since, RowState.OPEN,
                         row_ids or ())  # fmt: skip
        if dry_run:
            _print_trials(opened.lake.try_replay(wanted), as_json)
        else:
            _replay(opened, wanted, wait=wait, as_json=as_json)


def _replay(opened: Session, wanted: Wanted, *, wait: bool, as_json: bool) -> None:
    from lake_assets.cli.output import print_json, print_lines
    from lake_assets.cli.process_start import run_here, run_in_background
    from lake_assets.cli.work import plan_jobs

    staged = opened.lake.replay_quarantine(wanted)
    if staged:
        plan = plan_jobs(opened.lake, [upload.id for upload in staged])
        (run_here if wait else run_in_background)(opened, plan, as_json)
    elif as_json:
        print_json({"jobs": [], "done": [], "runs": []})
    else:
        print_lines("Nothing to replay")


def _wanted(
    ctx: typer.Context,
    lake: Lake,
    dataset: str | None,
    task: str | None,
    rule: str | None,
    upload: str | None,
    since: str | None,
    state: RowState,
    ids: Sequence[str] = (),
) -> Wanted:
    """Return which rows are meant.

    Raises:
        UnknownDataset, UnknownUpload, InvalidRequest: the last of an id.
    """
    from lake_assets.upkeep.quarantine import Wanted, row_of

    what = "option '--dataset'"
    return Wanted(
        dataset=None if dataset is None else known_dataset(ctx, lake, dataset, what=what),
        task=task,
        rule=rule,
        upload_id=None if upload is None else upload.upper(),
        since=None if since is None else instant_of(ctx, since),
        state=None if state is RowState.ALL else str(state),
        ids=tuple(row_of(lake.stores, text)["quarantine_id"] for text in ids),
    )


# -- printing


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the quarantine as JSON has it, with the rejected row in it."""
    others = {name: value for name, value in row.items() if name != "row_json"}
    return {**others, "content": _content(row)}


def _content(row: Mapping[str, Any]) -> Any:
    """Return the rejected row; numbers with more digits than JSON's readers keep are text."""
    from lake_assets.contracts.variants import variant_value
    from lake_assets.intake.readers.row_json import row_json

    text = row["row_json"]
    return json.loads(row_json(variant_value(text))) if text else None


def _print_rows(
    counts: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], state: RowState
) -> None:
    from lake_assets.cli.output import counted, print_lines
    from lake_assets.cli.tables import Column, print_table

    if not counts:
        what = "" if state is RowState.ALL else f"{state} "
        print_lines(f"No {what}rows of that kind are in the quarantine")
        return
    columns = [Column("of", is_whole=True), Column("rule"), Column("rows", is_number=True)]
    print_table(columns, ([row["name"], row["rule"], f"{row['rows']:,}"] for row in counts))
    if not rows:
        return
    print_lines("")
    columns = [Column("id", is_whole=True), Column("of", is_whole=True), Column("where"),
               Column("rule"), Column("path"), Column("expected", is_extra=True),
               Column("actual")]  # fmt: skip
    if state is not RowState.OPEN:
        columns.append(Column("state"))
    digits = _digits(rows)
    print_table(columns, (_cells(row, digits)[: len(columns)] for row in rows))
    total = sum(row["rows"] for row in counts)
    if len(rows) < total:
        print_lines(f"The newest {len(rows):,} of {counted(total, 'row')}; --limit shows more")


def _digits(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return how many digits tell the ids from each other."""
    ids = {row["quarantine_id"] for row in rows}
    digits = _SHORT_ID
    while len({key[:digits] for key in ids}) < len(ids):
        digits += 1
    return digits


def _cells(row: Mapping[str, Any], digits: int) -> list[str]:
    return [row["quarantine_id"][:digits], _name(row), _where(row), row["rule"], row["path"] or "",
            row["expected"], row["actual"], row["state"]]  # fmt: skip


def _name(row: Mapping[str, Any]) -> str:
    dataset = f"{row['provider']}/{row['dataset']}"
    return dataset if row["task"] == "raw" else f"{dataset}/{row['task']}/{row['variant']}"


def _where(row: Mapping[str, Any]) -> str:
    """Return the file and the row; of an image in a folder, its name."""
    content = _content(row)
    if row["file"] == "." and isinstance(content, dict) and "file_name" in content:
        return str(content["file_name"])
    return str(row["file"]) if row["row"] is None else f"{row['file']} row {row['row']}"


def _print_row(row: Mapping[str, Any]) -> None:
    from lake_assets.cli.output import print_facts, print_lines
    from lake_assets.cli.values import instant

    print_facts(
        [
            ("id", row["quarantine_id"]),
            ("of", _name(row)),
            ("state", row["state"]),
            ("upload", row["_upload_id"]),
            ("where", _where(row)),
            ("rule", row["rule"]),
            ("path", row["path"] or ""),
            ("expected", row["expected"]),
            ("actual", row["actual"]),
            ("rejected", instant(row["rejected_at"])),
            ("tried again", instant(row["replayed_at"])),
            ("replayed by", row["replayed_by"] or ""),
        ]
    )
    print_lines(*json.dumps(_content(row), indent=2, ensure_ascii=False).split("\n"))


def _print_trials(trials: Sequence[Trial], as_json: bool) -> None:
    from lake_assets.cli.output import print_json, print_lines

    if as_json:
        print_json({"trials": [_trial_document(trial) for trial in trials]})
    elif not trials:
        print_lines("Nothing to replay")
    for trial in trials if not as_json else ():
        print_lines(*_told(trial))


def _trial_document(trial: Trial) -> dict[str, Any]:
    from lake_assets.cli.documents import name_document

    outcome = trial.outcome
    return {
        **name_document(trial.name),
        "tried": trial.tried,
        "passed": trial.passed,
        "stayed": {**trial.rejected_by_rule, **trial.left},
        "accepted": outcome.accepted,
        "duplicate": outcome.duplicate,
        "rejected_by_rule": dict(outcome.rejected_by_rule),
    }


def _told(trial: Trial) -> list[str]:
    from lake_assets.cli.output import counted
    from lake_assets.cli.run_report import by_count

    outcome = trial.outcome
    news = by_count(outcome.rejected_by_rule)
    return [
        f"{trial.name}: {trial.passed:,} of {counted(trial.tried, 'row')} would pass "
        f"({outcome.accepted:,} accepted, {counted(outcome.duplicate, 'duplicate')})",
        *(f"  would stay: {count:,} by {rule}" for rule, count in by_count(trial.rejected_by_rule)),
        *(f"  cannot be tried: {count:,}, because {why}" for why, count in by_count(trial.left)),
        *(f"  would be rejected: {count:,} by {rule}, of files unread so far"
          for rule, count in news),
    ]  # fmt: skip
