"""Fixtures for the tests of pictures and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from batterykit.plots import dma, ica
from tests.plots.browser import Browser, find_browser


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were drawn, so that a test can ask them what the PNG cannot tell."""
    figures: list[Figure] = []

    def keeping(save: Callable[[Figure, Path], Path]) -> Callable[[Figure, Path], Path]:
        def save_and_keep(figure: Figure, path: Path) -> Path:
            figures.append(figure)
            return save(figure, path)

        return save_and_keep

    for module in (ica, dma):
        monkeypatch.setattr(module, "save", keeping(module.save))
    return figures


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A real Chromium without a window."""
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on the PATH; on Debian: apt-get install -y chromium")
    with Browser(program, tmp_path_factory.mktemp("browser")) as running:
        yield running
