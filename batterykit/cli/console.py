"""The only place that prints: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json as json_module
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import typer

from batterykit.errors import BatterykitError
from batterykit.jsonable import jsonable
from batterykit.progress import Track

T = TypeVar("T")

FILE_WIDTH = 200  # columns of a table that goes to a file or a pipe


@dataclass(frozen=True)
class Console:
    """What a command says, and where.

    Parameters
    ----------
    json
        Print one JSON object on stdout and nothing else there; no messages.
    quiet
        No messages and no progress.
    """

    json: bool = False
    quiet: bool = False

    def say(self, message: str) -> None:
        """Show a message on stderr, unless quiet or `--json`."""
        if not (self.quiet or self.json):
            _to_stderr(message)

    def show(self, line: str) -> None:
        """Print a line of the result on stdout, unless `--json`."""
        if not self.json:
            sys.stdout.write(f"{line}\n")

    def warn(self, message: str) -> None:
        """Show a warning on stderr, always."""
        _to_stderr(f"Warning: {message}", colour="yellow")

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Show a table on stdout, unless `--json`. Cells that hold numbers are right-aligned."""
        if self.json:
            return
        from rich.console import Console as RichConsole
        from rich.table import Table
        from rich.text import Text

        texts = [[str(value) for value in row] for row in rows]
        table = Table(box=None, pad_edge=False)
        for index, column in enumerate(columns):
            numeric = bool(texts) and all(_is_number(row[index]) for row in texts)
            table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
        for row in texts:
            table.add_row(*(Text(value) for value in row))
        console = RichConsole(width=None if sys.stdout.isatty() else FILE_WIDTH)
        console.print(Text(title, style="bold"), soft_wrap=True)
        console.print(table)

    def track(
        self, iterable: Iterable[T], description: str, total: int | None = None
    ) -> Iterator[T]:
        """Yield the items of `iterable` behind a progress bar on stderr."""
        return self._bar(iterable, description, total, [])

    def meter(self) -> tuple[Track, Callable[[str], None]]:
        """Return a `track`, and a function that shows a short text beside its bar."""
        listeners: list[Callable[[str], None]] = []

        def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
            return self._bar(iterable, description, total, listeners)

        def listen(text: str) -> None:
            for listener in listeners:
                listener(text)

        return track, listen

    def _bar(
        self,
        iterable: Iterable[T],
        description: str,
        total: int | None,
        listeners: list[Callable[[str], None]],
    ) -> Iterator[T]:
        """Yield the items; while it does, `listeners` holds what writes beside the bar."""
        if self.quiet or self.json:
            yield from iterable
            return
        from rich.console import Console as RichConsole
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}"),
        )
        if total is None and isinstance(iterable, Sequence):
            total = len(iterable)
        with Progress(*columns, console=RichConsole(stderr=True)) as progress:
            task = progress.add_task(description, total=total, now="")
            listeners.append(lambda text: progress.update(task, now=text))
            try:
                for item in iterable:
                    yield item
                    progress.advance(task)
            finally:
                listeners.pop()

    def result(self, payload: Mapping[str, Any]) -> None:
        """Print the machine-readable result on stdout, with `--json` only."""
        if self.json:
            text = json_module.dumps(jsonable(payload), indent=2, allow_nan=False)
            sys.stdout.write(text + "\n")

    def fail(self, error: BatterykitError) -> None:
        """Show an error on stderr; with `--json` also as an object on stdout."""
        _to_stderr(f"Error: {error}", colour="red")
        self.result({"error": error.as_dict()})


def _to_stderr(text: str, colour: str | None = None) -> None:
    # not by rich: its import is a tenth of a run that only has to say that nothing changed
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    typer.secho(text, fg=colour, err=True, color=coloured)


def _is_number(text: str) -> bool:
    try:
        float(text.rstrip("%").replace(",", "") or "nan")
    except ValueError:
        return text in ("-", "")
    return True
