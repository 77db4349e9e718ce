"""The `batterykit` command: registers the commands, turns errors into messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from batterykit import __version__
from batterykit.cli import cache, charge, demo, features, ingest, runs, store, train, twin
from batterykit.cli.console import Console
from batterykit.errors import BatterykitError

app = typer.Typer(
    name="batterykit",
    help="From raw battery-ageing records to store, features and an honest score.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"batterykit {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """From raw battery-ageing records to store, features and an honest score."""
    del version


app.command("ingest")(ingest.ingest)
app.add_typer(features.app, name="features")
app.add_typer(store.app, name="store")
app.add_typer(cache.app, name="cache")
app.command("twin")(twin.twin)
app.command("train")(train.train)
app.add_typer(runs.app, name="runs")
app.add_typer(charge.app, name="charge")
app.command("demo")(demo.demo)


def main() -> None:
    """Run the command line; the one place where errors become exit codes."""
    try:
        try:
            app()
        except OSError as error:  # a place named by an option or a setting that cannot be used
            raise BatterykitError(
                error.strerror or str(error),
                fix="look at the path, its permissions and the disk, or name another place",
                file=error.filename,
            ) from error
    except BatterykitError as error:
        Console(json="--json" in sys.argv).fail(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
