"""`lake upload`: stage a delivery, of data or of annotations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lake_assets.cli.context import Session, session
from lake_assets.cli.questions import agrees, answer, is_interactive, optional_answer
from lake_assets.cli.undo import redo, undo
from lake_assets.cli.words import pairs

if TYPE_CHECKING:
    from lake_assets.cli.progress import Report
    from lake_assets.contracts.names import VariantName
    from lake_assets.contracts.tasks import TaskContract
    from lake_assets.intake.uploads import Upload
    from lake_assets.lake import Lake

app = typer.Typer(no_args_is_help=True, help="Deliver something to the lake.")
app.command("undo")(undo)
app.command("redo")(redo)
_SHOWN = 5
"""Refused files that are named; `--json` and the quarantine have all."""


@app.command("raw")
def raw(
    ctx: typer.Context,
    path: Annotated[
        str | None, typer.Argument(metavar="PATH", help="File, folder or archive.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="P", help="Who delivers it.", show_default=False)
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="D", help="What it is; made when it is new.")
    ] = None,
    description: Annotated[str, typer.Option(help="What the dataset is, in a sentence.")] = "",
    variant: Annotated[str, typer.Option(help="Kind of delivery: image, mixed…")] = "",
    tag: Annotated[
        list[str] | None, typer.Option(help="Kept with the upload; may be given again.")
    ] = None,
    create: Annotated[
        bool, typer.Option("--create", help="Create the provider if it is missing.")
    ] = False,
    image_column: Annotated[
        str | None,
        typer.Option(help="Column that holds or names each row's image; default: found out."),
    ] = None,
    label_from_folders: Annotated[
        bool, typer.Option("--label-from-folders", help="Make sub-folder names a label column.")
    ] = False,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="CSV and TSV files have no line of column names.")
    ] = False,
    delimiter: Annotated[
        str | None, typer.Option(help=r"Field separator of CSV files, \t for tab; found out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Stage a delivery and print its upload id, which is also its job id.

    It is in the tables after `lake process start`.
    """
    from lake_assets.cli.documents import upload_document
    from lake_assets.cli.output import print_json

    with session(ctx) as opened:
        source = answer(ctx, path, what="argument 'PATH'", question="File, folder or archive")
        provider, create = _provider(ctx, opened.lake, provider, create)
        dataset = _dataset(ctx, opened.lake, provider, dataset)
        with _progress(opened, Path(source).expanduser()) as on_bytes:
            upload = opened.lake.upload_raw_data(
                source,
                provider=provider,
                dataset=dataset,
                dataset_description=description,
                variant=variant,
                tags=tag or (),
                create_provider=create,
                image_column=image_column,
                label_from_folders=label_from_folders,
                header=not no_header,
                delimiter="\t" if delimiter == r"\t" else delimiter,
                on_files=lambda _files, byte_count: on_bytes(byte_count),
            )
        if as_json:
            print_json(upload_document(upload))
        else:
            _print_upload(opened, upload)


@app.command("task")
def task(
    ctx: typer.Context,
    path: Annotated[
        str | None, typer.Argument(metavar="PATH", help="File, folder or archive of annotations.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="P", help="Who delivers the dataset.", show_default=False)
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="D", help="What they annotate; must exist.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="T", help="Kind of annotation; must exist.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(metavar="V", help="Version of it; made when it is new.")
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="What the task asks for, as lang=ko; may be given again."
        ),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Kept with the upload; may be given again.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Stage annotations of a dataset and print the upload id, which is also the job id.

    Files of a task with a built-in record type are SROIE, FUNSD, XFUND, COCO (annotations or
    results), PAGE, ALTO, hOCR, PaddleOCR, Tesseract TSV or JSON Lines, known by their content; of
    others they are tables. `lake config task show T` says what they are to hold. They are in its
    table after `lake process start`.
    """
    from lake_assets.cli.documents import upload_document
    from lake_assets.cli.output import print_json
    from lake_assets.contracts.tasks import require_metadata

    said = pairs(ctx, "--meta", meta or ())
    with session(ctx) as opened:
        source = answer(ctx, path, what="argument 'PATH'", question="File, folder or archive")
        name = _variant_name(ctx, opened.lake, (provider, dataset, task, variant))
        contract = opened.lake.registry.task(name.task)
        said = _metadata(contract, said)
        require_metadata(name.task, contract, said)  # before anything is read or imported
        with _progress(opened, Path(source).expanduser()) as on_bytes:
            upload = opened.lake.upload_task_data(
                source,
                provider=name.provider,
                dataset=name.dataset,
                task=name.task,
                variant=name.variant,
                meta=said,
                tags=tag or (),
                on_files=lambda _files, byte_count: on_bytes(byte_count),
            )
        if as_json:
            print_json(upload_document(upload))
        else:
            _print_upload(opened, upload)


def _variant_name(
    ctx: typer.Context, lake: Lake, given: tuple[str | None, str | None, str | None, str | None]
) -> VariantName:
    """Return what is annotated how, asking for what was left out.

    Raises:
        UnknownProvider, UnknownDataset, UnknownTask, InvalidName.
    """
    from lake_assets.contracts.names import DatasetName, VariantName

    provider, dataset, task, variant = given
    registry = lake.registry
    known = sorted(registry.providers)
    provider = answer(ctx, provider, what="option '--provider'", question="Provider", known=known)
    of = DatasetName(provider, _dataset(ctx, lake, provider, dataset))
    registry.require_provider(provider, may_create=False)
    registry.contract(of)
    task = answer(ctx, task, what="option '--task'", question="Task", known=sorted(registry.tasks))
    registry.task(task)
    variant = answer(ctx, variant, what="option '--variant'", question="Variant")
    return VariantName(of, task, variant)


def _metadata(contract: TaskContract, said: dict[str, str]) -> dict[str, str]:
    """Return what is said of an upload; on a terminal, ask for what its task requires."""
    if not is_interactive():
        return said
    asked = {
        name: optional_answer(f"{name}", known=contract.allowed_values.get(name, ()))
        for name in contract.required_fields
        if name not in said
    }
    return {**said, **asked}


def _provider(ctx: typer.Context, lake: Lake, given: str | None, create: bool) -> tuple[str, bool]:
    """Return the provider, and whether it is to be created if it is missing."""
    known = sorted(lake.registry.providers)
    provider = answer(ctx, given, what="option '--provider'", question="Provider", known=known)
    if create or provider in known or not is_interactive():
        return provider, create
    # A misspelt provider would be there for good, so ask.
    return provider, agrees(f"There is no provider {provider}; create it?")


def _dataset(ctx: typer.Context, lake: Lake, provider: str, given: str | None) -> str:
    names = lake.registry.dataset_names()
    known = [name.dataset for name in names if name.provider == provider]
    return answer(ctx, given, what="option '--dataset'", question="Dataset", known=known)


@contextmanager
def _progress(opened: Session, source: Path) -> Iterator[Report]:
    from lake_assets.cli.progress import Work, shown

    # Sizing a folder means a look at every file in it: only where somebody watches.
    total = _byte_count(source) if opened.err.is_terminal else None
    with shown(opened.err, Work(what="staging", unit="bytes", total=total)) as report:
        yield report


def _byte_count(source: Path) -> int | None:
    """Return how many bytes staging will copy; None: not known before it is done."""
    from lake_assets.intake.archives import is_archive

    if source.is_file():
        return None if is_archive(source) else source.stat().st_size
    files = (Path(folder, name) for folder, _, names in os.walk(source) for name in names)
    return sum(file.stat().st_size for file in files if file.is_file())


def _print_upload(opened: Session, upload: Upload) -> None:
    from lake_assets.cli.documents import name_facts
    from lake_assets.cli.output import counted, print_facts, print_lines, size

    manifest = upload.manifest
    print_facts(
        [
            ("upload", upload.id),
            *name_facts(upload),
            ("staged", f"{counted(manifest.file_count, 'file')}, {size(manifest.byte_count)}"),
            ("refused", _refused(upload)),
            ("ignored", counted(len(manifest.ignored), "file") if manifest.ignored else ""),
        ]
    )
    print_lines(f"Next: {opened.command('process', 'start', '--job', upload.id, '--wait')}")


def _refused(upload: Upload) -> str:
    from lake_assets.cli.output import counted

    refused = upload.manifest.refused
    shown = "; ".join(f"{item.name} ({item.rule})" for item in refused[:_SHOWN])
    more = "; …" if len(refused) > _SHOWN else ""
    return f"{counted(len(refused), 'file')}: {shown}{more}" if refused else ""
