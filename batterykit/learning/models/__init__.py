"""The models by name. A new one is a subclass of `Model` in its own file and a line here."""

from __future__ import annotations

from importlib import import_module

from batterykit.errors import UsageError
from batterykit.learning.models.base import Model

REGISTRY = {
    "dummy": "batterykit.learning.models.dummy:Dummy",
    "persistence": "batterykit.learning.models.dummy:Persistence",
    "mean_trajectory": "batterykit.learning.models.mean_trajectory:MeanTrajectory",
    "ridge": "batterykit.learning.models.ridge:Ridge",
    "lgbm": "batterykit.learning.models.lgbm:Lgbm",
    "ode": "batterykit.learning.models.ode:LatentOde",
}
"""Model name -> module:class; the module is imported when the model is asked for."""

REFERENCES = ("dummy", "persistence", "mean_trajectory")
"""What every run is compared with, on the same folds."""


def model_class(name: str) -> type[Model]:
    """Return the class of a model.

    Raises
    ------
    UsageError
        There is no such model.
    """
    if name not in REGISTRY:
        raise UsageError(f"there is no model '{name}'", fix=f"use one of {', '.join(REGISTRY)}")
    module, attribute = REGISTRY[name].split(":")
    found: type[Model] = getattr(import_module(module), attribute)
    return found
