"""What tells the cells of a pack from one another.

`Cells` is the one description of unequal and aged cells that scenarios make and the simulator
takes. No equations here: they are in `kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from batterykit.errors import BatterykitError

FloatArray = npt.NDArray[np.float64]
ArrayLike = npt.ArrayLike

_POSITIVE = (
    *("area", "pe_active", "ne_active", "pe_diffusivity", "ne_diffusivity"),
    *("pe_rate", "ne_rate", "heat_capacity", "ambient"),
)
_NOT_NEGATIVE = ("film_resistance", "contact_resistance", "cooling")


@dataclass(frozen=True)
class Cells:
    """The cells of N packs of M cells; every field broadcasts to (pack, cell).

    Parameters
    ----------
    x_0, x_100
        Stoichiometry of the negative electrode at 0 and 100 % state of charge (1).
    y_0, y_100
        The same of the positive electrode (1).
    soc
        State of charge at the start (1), in the cell's own window.
    area
        Electrode area relative to the parameter set (1): the size of a cell.
    pe_active, ne_active
        Active material left, 1 - LAM (1).
    pe_diffusivity, ne_diffusivity
        Factors on the solid diffusivities (1).
    pe_rate, ne_rate
        Factors on the exchange current densities (1).
    film_resistance
        Of the film on the negative particles (Ohm m2 of particle surface).
    contact_resistance
        In series with the cell, inside it (Ohm).
    cooling
        Factor on the heat transfer to the ambient (1).
    heat_capacity
        Factor on the heat capacity (1).
    ambient
        Temperature around the cell, and of the cell at the start (K).
    connected
        False for a cell that is open-circuit: its current is zero.
    """

    x_0: ArrayLike
    x_100: ArrayLike
    y_0: ArrayLike
    y_100: ArrayLike
    soc: ArrayLike
    area: ArrayLike = 1.0
    pe_active: ArrayLike = 1.0
    ne_active: ArrayLike = 1.0
    pe_diffusivity: ArrayLike = 1.0
    ne_diffusivity: ArrayLike = 1.0
    pe_rate: ArrayLike = 1.0
    ne_rate: ArrayLike = 1.0
    film_resistance: ArrayLike = 0.0
    contact_resistance: ArrayLike = 0.0
    cooling: ArrayLike = 1.0
    heat_capacity: ArrayLike = 1.0
    ambient: ArrayLike = 298.15
    connected: ArrayLike = True

    def broadcast(self, packs: int, size: int) -> Self:
        """Return the same cells with every field a new array of shape (packs, size), checked.

        Raises
        ------
        BatterykitError
            A field has another shape, is not finite, or is not possible.
        """
        arrays = {}
        for field in fields(self):
            value = np.asarray(getattr(self, field.name))
            try:
                arrays[field.name] = np.array(np.broadcast_to(value, (packs, size)))
            except ValueError as error:
                raise BatterykitError(
                    f"'{field.name}' of the cells has shape {value.shape}, "
                    f"which does not fit {packs} packs of {size} cells",
                    fix="give one number, one per cell, or an array of shape (packs, cells)",
                ) from error
            if field.name != "connected":
                arrays[field.name] = arrays[field.name].astype(np.float64)
                _check(field.name, arrays[field.name])
        for low, high in (("x_0", "x_100"), ("y_100", "y_0")):
            _refuse(arrays[high] <= arrays[low], high, arrays[high], f"must be greater than {low}")
        return type(self)(**arrays)


def _check(name: str, values: FloatArray) -> None:
    _refuse(~np.isfinite(values), name, values, "must be a finite number")
    if name in _POSITIVE:
        _refuse(values <= 0, name, values, "must be greater than zero")
    elif name in _NOT_NEGATIVE:
        _refuse(values < 0, name, values, "must not be negative")
    else:
        _refuse((values < 0) | (values > 1), name, values, "must be between 0 and 1")


def _refuse(wrong: npt.NDArray[np.bool_], name: str, values: FloatArray, demand: str) -> None:
    if wrong.any():
        pack, cell = np.argwhere(wrong)[0]
        raise BatterykitError(
            f"'{name}' of cell {cell} in pack {pack} is {values[pack, cell]:g}: it {demand}",
            fix="correct the scenario that the cells come from",
        )
