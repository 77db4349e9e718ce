"""The only place that prints: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json as json_module
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from batterykit.errors import BatterykitError
from batterykit.progress import Track

T = TypeVar("T")


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
            _stderr().print(message, highlight=False, markup=False, soft_wrap=True)

    def show(self, line: str) -> None:
        """Print a line of the result on stdout, unless `--json`."""
        if not self.json:
            sys.stdout.write(f"{line}\n")

    def warn(self, message: str) -> None:
        """Show a warning on stderr, always."""
        _stderr().print(
            f"Warning: {message}", style="yellow", highlight=False, markup=False, soft_wrap=True
        )

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Show a table on stdout, unless `--json`. Cells that hold numbers are right-aligned."""
        if self.json:
            return
        from rich.console import Console as RichConsole
        from rich.table import Table
        from rich.text import Text

        texts = [[str(value) for value in row] for row in rows]
        table = Table(title=Text(title), title_justify="left", title_style="bold", box=None)
        for index, column in enumerate(columns):
            numeric = bool(texts) and all(_is_number(row[index]) for row in texts)
            table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
        for row in texts:
            table.add_row(*(Text(value) for value in row))
        width = None if sys.stdout.isatty() else 200
        RichConsole(width=width).print(table)

    def track(
        self, iterable: Iterable[T], description: str, total: int | None = None
    ) -> Iterator[T]:
        """Yield the items of `iterable` behind a progress bar on stderr."""
        if self.quiet or self.json:
            yield from iterable
            return
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
        )
        if total is None and isinstance(iterable, Sequence):
            total = len(iterable)
        with Progress(*columns, console=_stderr()) as progress:
            yield from progress.track(iterable, total=total, description=description)

    def meter(self) -> tuple[Track, Callable[[str], None]]:
        """Return a `track`, and a function that shows a short text beside its bar."""
        shown: list[tuple[Any, Any]] = []

        def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
            if self.quiet or self.json:
                yield from iterable
                return
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
            )

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[now]}"),
            )
            with Progress(*columns, console=_stderr()) as progress:
                shown.append((progress, progress.add_task(description, total=total, now="")))
                for item in iterable:
                    yield item
                    progress.advance(shown[-1][1])
                shown.pop()

        def listen(text: str) -> None:
            for progress, task in shown:
                progress.update(task, now=text)

        return track, listen

    def result(self, payload: Mapping[str, Any]) -> None:
        """Print the machine-readable result on stdout, with `--json` only."""
        if self.json:
            text = json_module.dumps(_jsonable(payload), indent=2, allow_nan=False)
            sys.stdout.write(text + "\n")

    def fail(self, error: BatterykitError) -> None:
        """Show an error on stderr; with `--json` also as an object on stdout."""
        _stderr().print(
            f"Error: {error}", style="red", highlight=False, markup=False, soft_wrap=True
        )
        self.result({"error": error.as_dict()})


def _stderr() -> Any:  # noqa: ANN401 - rich is imported only when something is shown
    from rich.console import Console as RichConsole

    return RichConsole(stderr=True)


def _is_number(text: str) -> bool:
    try:
        float(text.rstrip("%").replace(",", "") or "nan")
    except ValueError:
        return text in ("-", "")
    return True


def _jsonable(value: Any) -> Any:  # noqa: ANN401 - anything a command may report
    """Turn numpy values, paths and NaN (null: JSON has no NaN) into what JSON knows."""
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        value = tolist()
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
