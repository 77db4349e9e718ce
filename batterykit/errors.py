"""The errors a user can meet: each says what was found, where, and what to do about it."""

from __future__ import annotations

from pathlib import Path


class BatterykitError(Exception):
    """An error whose text is meant for the user.

    Parameters
    ----------
    problem
        What was found and what was wanted.
    fix
        What to do about it.
    file, column, row
        Where: a path, a column's header, a 1-based line number that counts the header line.
    """

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        fix: str,
        file: Path | str | None = None,
        column: str | None = None,
        row: int | None = None,
    ) -> None:
        self.problem = problem
        self.fix = fix
        self.file = None if file is None else str(file)
        self.column = column
        self.row = row
        super().__init__(str(self))

    def __str__(self) -> str:
        place = [self.file] if self.file else []
        if self.column is not None:
            place.append(f"column '{self.column}'")
        if self.row is not None:
            place.append(f"line {self.row}")
        where = f"{', '.join(place)}: " if place else ""
        return f"{where}{self.problem.rstrip('.')}. Fix: {self.fix}"

    def as_dict(self) -> dict[str, str | int | None]:
        """Return the error's parts for `--json`."""
        return {
            "type": type(self).__name__,
            "problem": self.problem,
            "fix": self.fix,
            "file": self.file,
            "column": self.column,
            "row": self.row,
        }


class InputError(BatterykitError):
    """A data file or folder is not what it must be."""


class StoreError(BatterykitError):
    """The store cannot be opened, read or written."""


class SchemaError(StoreError):
    """A node of the store does not hold what its schema asks for."""


class UsageError(BatterykitError):
    """Options that do not fit together, or values out of range."""

    exit_code = 2
