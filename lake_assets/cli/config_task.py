"""`lake config task`: what annotations of a kind promise."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake_assets.cli.context import Session, session
from lake_assets.cli.datasets import AsJson, print_columns, table_columns
from lake_assets.cli.questions import agrees, answer, is_interactive, optional_answer
from lake_assets.cli.words import listed, pairs

if TYPE_CHECKING:
    from lake_assets.contracts.tasks import TaskContract
    from lake_assets.lake import Lake

app = typer.Typer(no_args_is_help=True, help="Kinds of annotations, and what they promise.")
TaskArgument = Annotated[str | None, typer.Argument(metavar="NAME", help="Its name.")]


class TypeName(StrEnum):
    """The built-in record types, here so that `--help` imports nothing; a test compares."""

    KIE = "kie"
    LAYOUT = "layout"
    OCR = "ocr"
    VQA = "vqa"


class ImageBy(StrEnum):
    """What a record may call its image by; a test compares."""

    NAME = "name"
    SHA256 = "sha256"
    RECORD_ID = "record_id"


class DriftMode(StrEnum):
    """What becomes of records that need another schema than the table has; a test compares."""

    EVOLVE = "evolve"
    FREEZE = "freeze"
    QUARANTINE = "quarantine"


_RecordType = Annotated[
    TypeName | None,
    typer.Option(
        metavar="TYPE",
        help=f"Built-in columns, rules and formats: {', '.join(TypeName)}. Default: none.",
    ),
]
_Required = Annotated[
    list[str] | None,
    typer.Option(metavar="A,B", help="To be said of each upload; may be given again."),
]
_Allow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=A,B", help="Values that NAME may have; may be given again for another."
    ),
]
_Field = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME=TYPE",
        help="Field of the records besides those of the record type; may be given again.",
    ),
]
_RequiredField = Annotated[
    list[str] | None,
    typer.Option(
        "--required-field",
        metavar="NAME=TYPE",
        help="The same, of which each record has a value; may be given again.",
    ),
]
_ImageField = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Field that refers to the image; default: image, if there is a record type.",
    ),
]
_ImageBy = Annotated[
    ImageBy | None,
    typer.Option(metavar="WHAT", help=f"What it holds: {', '.join(ImageBy)}. Default: name."),
]
_UniqueBy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="A,B", help="Fields that make a record unique, together; may be given again."
    ),
]


_Drift = Annotated[
    DriftMode | None,
    typer.Option(
        metavar="MODE",
        help="If records need another schema than the table has: evolve changes it, freeze fails "
        "their upload, quarantine rejects them. Default: evolve.",
    ),
]


@app.command("create")
def create_task(
    ctx: typer.Context,
    name: TaskArgument = None,
    record_type: _RecordType = None,
    required: _Required = None,
    allow: _Allow = None,
    fields: _Field = None,
    required_fields: _RequiredField = None,
    image_field: _ImageField = None,
    image_by: _ImageBy = None,
    unique_by: _UniqueBy = None,
    drift: _Drift = None,
    description: Annotated[str, typer.Option(help="What it is, in a sentence.")] = "",
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Add a task to the registry, config/schema.yaml.

    On a terminal, lake asks for the contract if no option says anything of it.
    """
    from lake_assets.cli.output import print_json, print_lines
    from lake_assets.contracts.tasks import task_contract

    said = {
        "description": description,
        "owner": owner,
        "record_type": record_type and str(record_type),
        "required_fields": [name for word in required or () for name in listed(word)],
        **_values_and_fields(ctx, allow or (), fields or (), required_fields or ()),
        "image_field": image_field,
        "image_by": image_by and str(image_by),
        "drift": drift and str(drift),
        "unique_by": [name for word in unique_by or () for name in listed(word)],
    }
    plain = {key: value for key, value in said.items() if value}
    with session(ctx) as opened:
        task = answer(ctx, name, what="argument 'NAME'", question="Name of the task")
        if is_interactive() and not plain.keys() - {"description", "owner"}:
            plain |= _asked(ctx, plain)
        contract = task_contract(plain)
        opened.lake.create_task(task, contract)
        if as_json:
            print_json({"task": task, "contract": _plain(contract)})
        else:
            upload = opened.command("upload", "task", "PATH", "--task", task)
            print_lines(f"Created task {task}", f"Next: {upload} …; a running UI shows its asset "
                        "after Deployment, Reload")  # fmt: skip


@app.command("show")
def show_task(ctx: typer.Context, name: TaskArgument = None, as_json: AsJson = False) -> None:
    """Print what a task promises, as YAML, and the columns of its table."""
    from lake_assets.cli.output import print_json, print_lines, print_yaml
    from lake_assets.contracts.names import VariantName

    with session(ctx) as opened:
        task, contract = _known_task(ctx, opened.lake, name)
        table = VariantName.table_of(task)
        columns = table_columns(opened.lake, table)
        promised = [] if columns else _promised(contract)
        if as_json:
            print_json({"task": task, "contract": _plain(contract), "table": table,
                        "columns": columns, "promised_columns": promised})  # fmt: skip
            return
        print_yaml({"tasks": {task: _plain(contract)}})
        if promised:
            print_lines("Nothing of it is in a table yet. Besides the lake's own it will have:")
        print_columns(columns or promised)


@app.command("list")
def list_tasks(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print the tasks of the registry, their variants and rows."""
    from lake_assets.cli.output import print_json, print_lines
    from lake_assets.cli.tables import Column, print_table

    with session(ctx) as opened:
        rows = _listed(opened.lake)
        if as_json:
            print_json({"tasks": rows})
        elif rows:
            titles = [Column("task", is_whole=True), Column("record type"), Column("variants"),
                      Column("rows", is_number=True), Column("owner"),
                      Column("description")]  # fmt: skip
            print_table(titles, map(_line, rows))
        else:
            create = opened.command("config", "task", "create", "NAME")
            print_lines(f"No tasks yet; {create} makes one")


@app.command("delete")
def delete_task(
    ctx: typer.Context,
    name: TaskArgument = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a task out of the registry; its table and rows stay."""
    from lake_assets.cli.output import print_json

    with session(ctx) as opened:
        task, _ = _known_task(ctx, opened.lake, name)
        if not yes:
            _require_agreement(ctx, task)
        remains = opened.lake.delete_task(task)
        if as_json:
            print_json({"task": task, "table": remains.table_name, "rows": remains.rows})
        else:
            _print_deleted(opened, task, remains.table_name, remains.rows)


def _require_agreement(ctx: typer.Context, task: str) -> None:
    if not is_interactive():
        ctx.fail(f"Deleting task {task} asks first; --yes says that it may.")
    if not agrees(f"Delete task {task} and its contract? Its rows stay."):
        raise typer.Exit(1)


def _print_deleted(opened: Session, task: str, table: str, rows: int | None) -> None:
    from lake_assets.cli.output import counted, print_lines

    print_lines(f"Deleted task {task}")
    if rows is not None:
        query = opened.command("sql", f"select * from {table}")
        again = opened.command("config", "task", "create", task)
        print_lines(f"{counted(rows, 'row')} stay in its table: {query}",
                    f"{again} takes them up again")  # fmt: skip


def _known_task(ctx: typer.Context, lake: Lake, given: str | None) -> tuple[str, TaskContract]:
    registry = lake.registry
    known = sorted(registry.tasks)
    name = answer(ctx, given, what="argument 'NAME'", question="Task", known=known)
    return name, registry.task(name)


def _values_and_fields(
    ctx: typer.Context, allow: Sequence[str], fields: Sequence[str], required: Sequence[str]
) -> dict[str, Any]:
    """Return both keys of the contract; values of a record's field are part of its rule."""
    rules: dict[str, dict[str, Any]] = {
        **{name: {"type": kind} for name, kind in pairs(ctx, "--field", fields).items()},
        **{
            name: {"type": kind, "required": True}
            for name, kind in pairs(ctx, "--required-field", required).items()
        },
    }
    said: dict[str, list[str]] = {}
    for name, values in pairs(ctx, "--allow", allow).items():
        if name in rules:
            rules[name]["allowed"] = listed(values)
        else:
            said[name] = listed(values)
    return {"allowed_values": said, "fields": rules}


def _asked(ctx: typer.Context, known: dict[str, Any]) -> dict[str, Any]:
    """Return what a person says of a contract; empty answers leave it out."""
    plain: dict[str, Any] = {}
    if "description" not in known:
        plain["description"] = optional_answer("Description")
    plain["record_type"] = optional_answer("Record type, or nothing", known=list(TypeName))
    plain["required_fields"] = listed(
        optional_answer("To be said of each upload, as lang,src, or nothing")
    )
    values = {
        name: listed(optional_answer(f"Allowed values of {name}, as a,b, or nothing for any"))
        for name in plain["required_fields"]
    }
    plain["allowed_values"] = {name: allowed for name, allowed in values.items() if allowed}
    own = optional_answer("Other fields of records, as score=double,reviewer=string, or nothing")
    plain["fields"] = pairs(ctx, "fields", listed(own))
    return {key: value for key, value in plain.items() if value}


def _plain(contract: TaskContract) -> dict[str, Any]:
    """Return a contract as schema.yaml has it: what is left out there is left out."""
    plain: dict[str, Any] = contract.model_dump(mode="json", exclude_unset=True)
    return plain


def _promised(contract: TaskContract) -> list[dict[str, str]]:
    return [
        {"name": field.name, "type": str(field.type),
         "comment": (field.metadata or {}).get(b"doc", b"").decode()}
        for field in contract.promised_columns()
    ]  # fmt: skip


def _listed(lake: Lake) -> list[dict[str, Any]]:
    registry, entries = lake.registry, lake.catalog()
    return [
        {
            "task": task,
            "record_type": contract.record_type,
            "variants": sorted({row["variant"] for row in entries if row["task"] == task}),
            "rows": sum(row["rows"] for row in entries if row["task"] == task),
            "owner": contract.owner,
            "description": contract.description,
        }
        for task, contract in sorted(registry.tasks.items())
    ]


def _line(row: dict[str, Any]) -> list[str]:
    texts = [row["task"], row["record_type"] or "", ", ".join(row["variants"]), f"{row['rows']:,}"]
    return [*texts, row["owner"], row["description"]]
