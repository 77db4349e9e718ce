"""How library code reports progress without knowing who shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Wraps an iterable and shows how far it is; the command line passes a progress bar."""

    def __call__(
        self, iterable: Iterable[T], description: str, total: int | None = None
    ) -> Iterator[T]:
        """Yield the items of `iterable` while showing `description`."""
        ...


def no_track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items of `iterable` and show nothing."""
    del description, total
    yield from iterable
