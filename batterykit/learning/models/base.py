"""The one interface of all models, and what they share in reading and writing their files."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from batterykit.errors import StoreError, UsageError
from batterykit.learning.splits import Fold
from batterykit.learning.tasks import Sequences

Listen = Callable[[str], None]
"""Takes a short text about how the fit is going; the command line shows it beside its bar."""

STATE_FILE = "model.json"


def no_listener(text: str) -> None:
    """Show nothing."""
    del text


class Model(ABC):
    """A model of one fold.

    A subclass fills `state` (plain JSON: everything that `predict` needs, or the names of files
    beside it) in `_fit` and reads nothing else in `_predict`. It never sees a test cell's target:
    what it predicts from is `Sequences.hidden()`.

    Parameters
    ----------
    seed
        Of everything random.
    device
        `auto` (CUDA where there is one), `cpu` or `cuda`; only networks care.

    Attributes
    ----------
    slow
        Whether a fold takes so long that a process of its own pays.
    """

    name: ClassVar[str]
    slow: ClassVar[bool] = False

    def __init__(self, seed: int = 0, device: str = "auto") -> None:
        self.seed = seed
        self.device = device
        self.state: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []

    def fit(self, train: Sequences, valid: Sequence[Fold], listen: Listen = no_listener) -> Self:
        """Learn from the training cells; tune and stop early on their inner folds.

        Parameters
        ----------
        train
            The training cells, with answers.
        valid
            Inner folds: indices into the cells of `train`.
        listen
            Told how it is going.

        Raises
        ------
        InputError
            A scored check-up has no target.
        """
        train.require_answers()
        self.history = []
        self.state = {"task": train.task, "target": train.target, "features": list(train.names)}
        self._fit(train, valid, listen)
        return self

    def predict(self, data: Sequences) -> np.ndarray:
        """Return the target (cell, step) float64 [1], NaN wherever the task asks nothing.

        Raises
        ------
        UsageError
            Not fitted, or fitted for other features, task or target.
        """
        if not self.state:
            raise UsageError(
                f"the model '{self.name}' has not been fitted", fix="call fit, or load it"
            )
        wanted = {name: self.state[name] for name in ("task", "target", "features")}
        found = {"task": data.task, "target": data.target, "features": list(data.names)}
        for name in wanted:
            if wanted[name] != found[name]:
                raise UsageError(
                    f"the model '{self.name}' was fitted for {name} {wanted[name]}, "
                    f"not {found[name]}",
                    fix="fit it again on this data",
                )
        return np.where(data.scored, self._predict(data.hidden()), np.nan)

    @property
    def choices(self) -> dict[str, Any]:
        """What the inner folds decided, for the manifest."""
        return dict(self.state.get("choices", {}))

    def save(self, folder: Path) -> None:
        """Write the model's files (JSON; weights as safetensors or text) into a new folder."""
        folder.mkdir(parents=True)
        text = json.dumps({"model": self.name, "seed": self.seed, **self.state}, indent=1)
        (folder / STATE_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> Self:
        """Read what `save` wrote.

        Raises
        ------
        StoreError
            The folder holds no such model.
        """
        try:
            state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"no saved model can be read here ({error})",
                fix="name the folder of one fold of a run",
                file=folder / STATE_FILE,
            ) from error
        if state.pop("model", None) != cls.name:
            raise StoreError(
                f"this is not a saved '{cls.name}'",
                fix="load it with its own class",
                file=folder / STATE_FILE,
            )
        model = cls(seed=state.pop("seed"), device=device)
        model.state = state
        return model

    @abstractmethod
    def _fit(self, train: Sequences, valid: Sequence[Fold], listen: Listen) -> None:
        """Fill `state`."""

    @abstractmethod
    def _predict(self, data: Sequences) -> np.ndarray:
        """Return (cell, step) from `state` and inputs alone."""
