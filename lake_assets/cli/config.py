"""`lake config`: providers, and what datasets promise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake_assets.cli.context import session
from lake_assets.cli.questions import answer, known_dataset

if TYPE_CHECKING:
    from lake_assets.contracts.names import DatasetName
    from lake_assets.lake import Lake

app = typer.Typer(no_args_is_help=True, help="Providers, and what datasets promise.")
provider_app = typer.Typer(no_args_is_help=True, help="Who delivers.")
dataset_app = typer.Typer(no_args_is_help=True, help="What is delivered, and what it promises.")
app.add_typer(provider_app, name="provider")
app.add_typer(dataset_app, name="dataset")

_FIELD_ID = re.compile(r"\b[0-9]+: ")
"""Iceberg writes the field ids of a struct into its type; they tell a reader nothing."""
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@provider_app.command("create")
def create_provider(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Its name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a provider to the registry, config/schema.yaml."""
    from lake_assets.cli.output import print_json, print_lines

    with session(ctx) as opened:
        provider = answer(ctx, name, what="argument 'NAME'", question="Name of the provider")
        opened.lake.create_provider(provider)
        if as_json:
            print_json({"provider": provider})
        else:
            print_lines(f"Created provider {provider}")


@provider_app.command("list")
def list_providers(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print the providers and how many datasets each has."""
    from lake_assets.cli.output import print_json, print_lines
    from lake_assets.cli.tables import Column, print_table

    with session(ctx) as opened:
        registry = opened.lake.registry
        owners = [name.provider for name in registry.dataset_names()]
        counts = {provider: owners.count(provider) for provider in sorted(registry.providers)}
        if as_json:
            rows = [{"provider": name, "datasets": count} for name, count in counts.items()]
            print_json({"providers": rows})
        elif counts:
            columns = [Column("provider", is_whole=True), Column("datasets", is_number=True)]
            print_table(columns, ([name, str(count)] for name, count in counts.items()))
        else:
            create = opened.command("config", "provider", "create", "NAME")
            print_lines(f"No providers yet; {create} makes one")


@dataset_app.command("list")
def list_datasets(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print the datasets of the registry."""
    from lake_assets.cli.output import print_json, print_lines
    from lake_assets.cli.tables import Column, print_table

    with session(ctx) as opened:
        registry = opened.lake.registry
        contracts = {str(name): registry.contract(name) for name in registry.dataset_names()}
        rows = [[name, item.owner, item.description] for name, item in contracts.items()]
        titles = ("dataset", "owner", "description")
        if as_json:
            print_json({"datasets": [dict(zip(titles, row, strict=True)) for row in rows]})
        elif rows:
            print_table([Column(title, is_whole=title == "dataset") for title in titles], rows)
        else:
            print_lines("No datasets yet; lake upload raw PATH makes one")


@dataset_app.command("show")
def show_dataset(
    ctx: typer.Context,
    dataset: Annotated[
        str | None, typer.Argument(metavar="P/D", help="As provider/dataset.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what a dataset promises, as YAML, and the columns that its table has."""
    from lake_assets.cli.output import print_json

    with session(ctx) as opened:
        name = known_dataset(ctx, opened.lake, dataset, what="argument 'P/D'")
        contract = opened.lake.registry.contract(name).model_dump(mode="json")
        columns = table_columns(opened.lake, name)
        if as_json:
            print_json({"dataset": name.table, "contract": contract, "columns": columns})
        else:
            _print_contract(str(name), contract, columns)


def table_columns(lake: Lake, name: DatasetName) -> list[dict[str, str]]:
    """Return name, type and comment of each column of a dataset's table; empty: no table yet."""
    if not lake.stores.tables.exists(name.table):
        return []
    columns = lake.stores.tables.facts(name.table).columns
    return [
        {"name": column, "type": _FIELD_ID.sub("", kind), "comment": doc}
        for column, kind, doc in columns
    ]


def print_columns(columns: list[dict[str, str]]) -> None:
    """Print columns as ``table_columns`` returns them."""
    from lake_assets.cli.tables import Column, print_table

    titles = [Column("column", is_whole=True), Column("type"), Column("comment")]
    print_table(titles, ([item["name"], item["type"], item["comment"]] for item in columns))


def _print_contract(name: str, contract: dict[str, Any], columns: list[dict[str, str]]) -> None:
    import yaml

    from lake_assets.cli.output import print_lines

    text = yaml.safe_dump({name: contract}, sort_keys=False, allow_unicode=True)
    print_lines(*text.splitlines(), "")
    if columns:
        print_columns(columns)
    else:
        print_lines("Nothing of it is in a table yet.")
