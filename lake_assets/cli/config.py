"""`lake config`: providers, and what datasets promise. (Tasks are in config_task.py.)"""

from __future__ import annotations

from typing import Annotated

import typer

from lake_assets.cli import config_task
from lake_assets.cli.context import session
from lake_assets.cli.datasets import AsJson, DatasetArgument, print_columns, shown_dataset
from lake_assets.cli.questions import answer
from lake_assets.cli.words import pairs

app = typer.Typer(no_args_is_help=True, help="Providers, and what datasets and tasks promise.")
provider_app = typer.Typer(no_args_is_help=True, help="Who delivers.")
dataset_app = typer.Typer(no_args_is_help=True, help="What is delivered, and what it promises.")
app.add_typer(provider_app, name="provider")
app.add_typer(dataset_app, name="dataset")
app.add_typer(config_task.app, name="task")


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


@dataset_app.command("set")
def set_dataset(
    ctx: typer.Context,
    dataset: DatasetArgument = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="NAME=TYPE",
            help="Column that is read as this type; may be given again. Types are Iceberg's, as "
            "string, long, decimal(12,2), timestamptz.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what a dataset promises; a new one is added to the registry, config/schema.yaml."""
    from lake_assets.cli.output import print_json, print_lines
    from lake_assets.contracts.names import DatasetName
    from lake_assets.upkeep.declarations import declare_columns

    said = pairs(ctx, "--column", columns or ())
    if not said:
        ctx.fail("Missing option '--column'.")
    with session(ctx) as opened:
        name = DatasetName.parse(answer(ctx, dataset, what="argument 'P/D'", question="Dataset"))
        contract = declare_columns(opened.lake.stores, name, said)
        if as_json:
            print_json({"dataset": name.table, "contract": contract.model_dump(mode="json")})
            return
        print_lines(f"{name}: declared {', '.join(f'{key} {kind}' for key, kind in said.items())}")
        if opened.lake.stores.tables.exists(name.table):
            again = opened.command("process", "start", "--dataset", str(name), "--rebuild")
            print_lines(f"Deliveries are read so from now on; what is there already: {again}")


@dataset_app.command("show")
def show_dataset(
    ctx: typer.Context, dataset: DatasetArgument = None, as_json: AsJson = False
) -> None:
    """Print what a dataset promises, as YAML, and the columns that its table has."""
    from lake_assets.cli.output import print_json, print_yaml

    with shown_dataset(ctx, dataset) as shown:
        contract = shown.lake.registry.contract(shown.name).model_dump(mode="json")
        if as_json:
            table = shown.name.table
            print_json({"dataset": table, "contract": contract, "columns": shown.columns})
        else:
            print_yaml({str(shown.name): contract})
            print_columns(shown.columns)
