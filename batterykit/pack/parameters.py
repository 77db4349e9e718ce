"""Numbers and tables of one cell, read from a PyBaMM parameter set, a BPX file or a set of ours.

`read_parameters` evaluates every function of the set on the grids that the kernels interpolate in
and leaves no function behind. Each quantity is what PyBaMM's SPMe and DFN use with
``{"thermal": "lumped"}`` and all other options at their defaults: Bruggeman transport efficiencies,
the thermodynamic factor as ``chi``, heat capacity and cooling of the volume given as "Cell volume".
What these tables cannot hold (two particle phases, hysteresis, a conductivity that depends on
temperature, ...) is an error that names PyBaMM's parameter. Nothing is solved here.

Potentials are without the terms that PyBaMM adds to keep its solver from stoichiometries 0 and 1:
1 mV at 0.001, 2 microvolts at 0.002, 1 V at 0 (`U_asymptotes`); exchange currents are without its
regularisation of powers near 0 (0.01 % at a stoichiometry of 0.05, 0.25 % at 0.01).

Source: S. G. Marquis et al., J. Electrochem. Soc. 166 (2019) A3693, for the meaning of the
parameters; R. Timms et al., SIAM J. Appl. Math. 81 (2021) 765, for the lumped thermal ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from batterykit.errors import InputError

if TYPE_CHECKING:
    import pybamm

FloatArray = npt.NDArray[np.float64]

TEMPERATURES = (248.15, 348.15)  # K, range of all tables
TEMPERATURE_STEP = 2.5  # K, of the electrolyte's tables
CONCENTRATIONS = (0.0, 4000.0)  # mol/m3
CONCENTRATION_STEP = 20.0  # mol/m3
REFERENCE_CONCENTRATION = 1000.0  # mol/m3, to which the exchange current refers
POTENTIAL_PIECES = 500
DIFFUSIVITY_POINTS = 101
ARRHENIUS_POINTS = 41

_SEPARABLE = 1e-6  # relative; what a product of functions may be wrong by
_EXPONENT_STEP = 1e-9  # exponents are rounded to this
_HEAT_CAPACITY_RANGE = (273.15, 333.15)  # K
_HEAT_CAPACITY_CHANGE = 0.01  # relative, over that range
_END_MISFIT = 1e-3  # V, of a cubic in the first and the last piece


@dataclass(frozen=True)
class ElectrodeParameters:
    """One electrode.

    Parameters
    ----------
    thickness
        [m].
    porosity
        Volume fraction of the electrolyte.
    transport_efficiency
        Of the electrolyte in the pores: porosity to the power of Bruggeman's coefficient.
    active_fraction
        Volume fraction of the active material.
    particle_radius
        [m].
    conductivity
        Effective, of the solid [S/m]: ``sigma (1 - porosity)**b_s``.
    max_concentration
        Of lithium in the particles [mol/m3].
    initial_stoichiometry
        Of the fresh cell, as the set has it: with it comes the inventory of lithium.
    potential
        At the reference temperature, shape (500, 4): coefficients a, b, c, d of
        ``((a s + b) s + c) s + d`` [V] on 500 equal intervals of stoichiometry from 0 to 1; s is
        the stoichiometry's distance from the interval's lower end.
    entropic
        dU/dT [V/K], in the same form, shape (500, 4).
    log_diffusivity
        ln of D [m2/s] at stoichiometry 0.5, shape (inverse temperature,).
    relative_diffusivity
        D over D at 0.5, at 101 equal steps of stoichiometry from 0 to 1, shape (101,).
    log_rate
        ln of k [A/m2], shape (inverse temperature,). The exchange-current density is
        ``k (c_e / 1000 mol/m3)**e sto**s (1 - sto)**f``.
    exchange_exponents
        e, s and f.
    """

    thickness: float
    porosity: float
    transport_efficiency: float
    active_fraction: float
    particle_radius: float
    conductivity: float
    max_concentration: float
    initial_stoichiometry: float
    potential: FloatArray
    entropic: FloatArray
    log_diffusivity: FloatArray
    relative_diffusivity: FloatArray
    log_rate: FloatArray
    exchange_exponents: tuple[float, float, float]


@dataclass(frozen=True)
class CellParameters:
    """One cell; all arrays are read-only.

    Parameters
    ----------
    name, source
        What it is called and where it comes from.
    negative, positive
        The electrodes.
    separator_thickness, separator_porosity, separator_transport_efficiency
        [m], [1], [1].
    electrode_area
        Of all layers in parallel [m2].
    electrolyte_concentration
        At rest [mol/m3].
    transference
        Number of the cation.
    temperature_grid, concentration_grid
        [K] in steps of 2.5 K, [mol/m3] in steps of 20: where the next three are given.
    conductivity, electrolyte_diffusivity, thermodynamic
        Shape (temperature, concentration): bulk conductivity [S/m], bulk diffusivity [m2/s] and
        ``chi = 2 (1 - transference) (1 + d ln f / d ln c)`` [1]. As in PyBaMM the first two are
        constant below 10 mol/m3.
    inverse_temperature_grid
        Equally spaced, falling temperature never: from 1/348.15 to 1/248.15 [1/K].
    heat_capacity
        Of the whole cell [J/K].
    cooling
        To the surroundings [W/K].
    collector_resistance
        Whose I^2 R is the heat of the current collectors [Ohm]; the voltage does not know it.
    contact_resistance
        In series with the cell [Ohm].
    reference_temperature, ambient_temperature
        [K].
    lower_voltage, upper_voltage
        Cut-offs [V].
    nominal_capacity
        [Ah].
    """

    name: str
    source: str
    negative: ElectrodeParameters
    positive: ElectrodeParameters
    separator_thickness: float
    separator_porosity: float
    separator_transport_efficiency: float
    electrode_area: float
    electrolyte_concentration: float
    transference: float
    temperature_grid: FloatArray
    concentration_grid: FloatArray
    conductivity: FloatArray
    electrolyte_diffusivity: FloatArray
    thermodynamic: FloatArray
    inverse_temperature_grid: FloatArray
    heat_capacity: float
    cooling: float
    collector_resistance: float
    contact_resistance: float
    reference_temperature: float
    ambient_temperature: float
    lower_voltage: float
    upper_voltage: float
    nominal_capacity: float


def read_parameters(
    source: str | Path | pybamm.ParameterValues, **changes: float
) -> CellParameters:
    """Read a cell's parameters.

    Parameters
    ----------
    source
        Name of one of PyBaMM's parameter sets, or its `ParameterValues`.
    **changes
        Values of single PyBaMM parameters to use instead, by PyBaMM's names.

    Returns
    -------
    CellParameters
        Of names, the same object each time.

    Raises
    ------
    InputError
        The source is unknown, lacks a parameter or has one that cannot be represented.
    """
    os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
    if isinstance(source, str | Path):
        return _named(str(source), tuple(sorted(changes.items())))
    values = source.copy()
    values.update(changes, check_already_exists=False)
    return _Reader(values, "ParameterValues", "PyBaMM ParameterValues").read()


@lru_cache(maxsize=32)
def _named(name: str, changes: tuple[tuple[str, float], ...]) -> CellParameters:
    import pybamm

    values = pybamm.ParameterValues(name)
    values.update(dict(changes), check_already_exists=False)
    return _Reader(values, name, f"PyBaMM {pybamm.__version__}, parameter set {name}").read()


class _Reader:
    """Evaluates one set of parameter values."""

    def __init__(self, values: Any, name: str, source: str) -> None:  # noqa: ANN401
        import pybamm

        self.pybamm = pybamm
        self.values = values
        self.name = name
        self.source = source
        options = pybamm.BatteryModelOptions({"thermal": "lumped"})
        self.param = pybamm.LithiumIonParameters(options)
        self.inverse_temperature = np.linspace(
            1 / TEMPERATURES[1], 1 / TEMPERATURES[0], ARRHENIUS_POINTS
        )

    def read(self) -> CellParameters:
        scalar, param = self.constant, self.param
        area = (
            scalar("Electrode width [m]")
            * scalar("Electrode height [m]")
            * scalar("Number of electrodes connected in parallel to make a cell")
        )
        steps = round((TEMPERATURES[1] - TEMPERATURES[0]) / TEMPERATURE_STEP)
        temperature = np.linspace(*TEMPERATURES, steps + 1)
        steps = round((CONCENTRATIONS[1] - CONCENTRATIONS[0]) / CONCENTRATION_STEP)
        concentration = np.linspace(*CONCENTRATIONS, steps + 1)
        mesh = np.meshgrid(temperature, concentration, indexing="ij")

        def electrolyte(function: Any) -> FloatArray:  # noqa: ANN401
            return self.evaluate(function, mesh[1], mesh[0])

        collectors = sum(
            scalar(f"{side} current collector thickness [m]")
            / scalar(f"{side} current collector conductivity [S.m-1]")
            for side in ("Negative", "Positive")
        )
        porosity = self.constant("Separator porosity", **_POSITION)
        return CellParameters(
            name=self.name,
            source=self.source,
            negative=self.electrode("negative"),
            positive=self.electrode("positive"),
            separator_thickness=scalar("Separator thickness [m]"),
            separator_porosity=porosity,
            separator_transport_efficiency=porosity
            ** scalar("Separator Bruggeman coefficient (electrolyte)"),
            electrode_area=area,
            electrolyte_concentration=scalar("Initial concentration in electrolyte [mol.m-3]"),
            transference=scalar(
                "Cation transference number",
                **{
                    "Electrolyte concentration [mol.m-3]": (100.0, 3000.0),
                    "Temperature [K]": TEMPERATURES,
                },
            ),
            temperature_grid=_fixed(temperature),
            concentration_grid=_fixed(concentration),
            conductivity=_fixed(electrolyte(param.kappa_e)),
            electrolyte_diffusivity=_fixed(electrolyte(param.D_e)),
            thermodynamic=_fixed(electrolyte(param.chi)),
            inverse_temperature_grid=_fixed(self.inverse_temperature),
            heat_capacity=self.heat_capacity(),
            cooling=scalar("Total heat transfer coefficient [W.m-2.K-1]")
            * scalar("Cell cooling surface area [m2]"),
            collector_resistance=collectors / area,
            contact_resistance=scalar(
                "Contact resistance [Ohm]", **{"Temperature [K]": TEMPERATURES}
            ),
            reference_temperature=scalar("Reference temperature [K]"),
            ambient_temperature=scalar(
                "Ambient temperature [K]",
                **{
                    "Distance across electrode width [m]": (0.0, 0.1),
                    "Distance across electrode height [m]": (0.0, 0.1),
                    "Time [s]": (0.0, 1e4),
                },
            ),
            lower_voltage=scalar("Lower voltage cut-off [V]"),
            upper_voltage=scalar("Upper voltage cut-off [V]"),
            nominal_capacity=scalar("Nominal cell capacity [A.h]"),
        )

    def electrode(self, side: str) -> ElectrodeParameters:
        scalar = self.constant
        title = side.capitalize()
        porosity = scalar(f"{title} electrode porosity", **_POSITION)
        maximum = scalar(f"Maximum concentration in {side} electrode [mol.m-3]")
        log_rate, exponents = self.exchange_current(title, maximum)
        log_diffusivity, relative = self.diffusivity(side, maximum)
        bruggeman = f"{title} electrode Bruggeman coefficient"
        return ElectrodeParameters(
            thickness=scalar(f"{title} electrode thickness [m]"),
            porosity=porosity,
            transport_efficiency=porosity ** scalar(f"{bruggeman} (electrolyte)"),
            active_fraction=scalar(
                f"{title} electrode active material volume fraction", **_POSITION
            ),
            particle_radius=scalar(
                f"{title} particle radius [m]", **{"Through-cell distance (x) [m]": (0.0, 1e-4)}
            ),
            conductivity=scalar(
                f"{title} electrode conductivity [S.m-1]",
                **{
                    f"{title} electrode stoichiometry": (0.01, 0.99),
                    "Temperature [K]": TEMPERATURES,
                },
            )
            * (1 - porosity) ** scalar(f"{bruggeman} (electrode)"),
            max_concentration=maximum,
            initial_stoichiometry=scalar(
                f"Initial concentration in {side} electrode [mol.m-3]",
                **{
                    "Radial distance (r) [m]": (0.0, 1e-6),
                    "Through-cell distance (x) [m]": (0.0, 1e-4),
                },
            )
            / maximum,
            potential=self.pieces(f"{title} electrode OCP [V]", title),
            entropic=self.pieces(f"{title} electrode OCP entropic change [V.K-1]", title),
            log_diffusivity=log_diffusivity,
            relative_diffusivity=relative,
            log_rate=log_rate,
            exchange_exponents=exponents,
        )

    def evaluate(self, function: Any, *arrays: FloatArray) -> FloatArray:  # noqa: ANN401
        """Evaluate a function of pybamm symbols on arrays of one shape."""
        shape = np.broadcast_shapes(*(np.shape(array) for array in arrays))
        columns = [
            self.pybamm.Vector(np.broadcast_to(array, shape).reshape(-1)) for array in arrays
        ]
        symbol = self.values.process_symbol(function(*columns))
        value = np.asarray(symbol.evaluate(t=0.0), dtype=np.float64).reshape(-1)
        return np.broadcast_to(value, (int(np.prod(shape)),)).reshape(shape).copy()

    def function(self, name: str, *inputs: str) -> Any:  # noqa: ANN401
        """Return PyBaMM's parameter as a function of pybamm symbols."""
        return lambda *symbols: self.pybamm.FunctionParameter(
            name, dict(zip(inputs, symbols, strict=True))
        )

    def constant(self, name: str, **inputs: tuple[float, float]) -> float:
        """Return a parameter that must not depend on what PyBaMM lets it depend on."""
        if not inputs:
            return float(self.values.process_symbol(self.pybamm.Parameter(name)).evaluate())
        axes = [np.linspace(low, high, 5) for low, high in inputs.values()]
        value = self.evaluate(
            self.function(name, *inputs), *np.meshgrid(*axes, indexing="ij")
        ).reshape(-1)
        if not np.allclose(value, value[0], rtol=1e-9, atol=0):
            raise InputError(
                f"PyBaMM's '{name}' of {self.name} is not constant in {', '.join(inputs)}",
                fix=f"give it one value: {{'{name}': {value[len(value) // 2]:.6g}}}",
            )
        return float(value[0])

    def pieces(self, name: str, title: str) -> FloatArray:
        """Return a function of stoichiometry as cubics with its values and slopes at the nodes."""
        width = 1 / POTENTIAL_PIECES
        step = width / 20
        ocp = self.function(name, f"{title} particle stoichiometry")
        nodes = np.linspace(0, 1, POTENTIAL_PIECES + 1)
        inner = nodes[1:-1]
        stencil = self.evaluate(ocp, inner[:, None] + step * np.array([-2, -1, 1, 2]))
        slope = np.empty_like(nodes)
        slope[1:-1] = stencil @ np.array([1, -8, 8, -1]) / (12 * step)
        ends = np.array([1e-10, 1 - 1e-10])[:, None]
        away = np.array([[1.0], [-1.0]])
        near = self.evaluate(ocp, ends + step * away * np.arange(5))
        slope[[0, -1]] = away[:, 0] * (near @ np.array([-25, 48, -36, 16, -3])) / (12 * step)
        value = self.evaluate(ocp, np.clip(nodes, 1e-10, 1 - 1e-10))
        rise = np.diff(value) / width
        pieces = np.stack(
            [
                (slope[:-1] + slope[1:] - 2 * rise) / width**2,
                (3 * rise - 2 * slope[:-1] - slope[1:]) / width,
                slope[:-1],
                value[:-1],
            ],
            axis=1,
        )
        return _fixed(pieces)

    def diffusivity(self, side: str, maximum: float) -> tuple[FloatArray, FloatArray]:
        particle = getattr(self.param, side[0]).prim
        sto = np.linspace(0, 1, DIFFUSIVITY_POINTS)
        mesh = np.meshgrid(sto, 1 / self.inverse_temperature, indexing="ij")
        table = self.evaluate(lambda s, t: particle.D(s * maximum, t), *mesh)
        middle = DIFFUSIVITY_POINTS // 2
        relative = table[:, 0] / table[middle, 0]
        if not np.allclose(table, relative[:, None] * table[middle], rtol=_SEPARABLE, atol=0):
            raise InputError(
                f"PyBaMM's '{side.capitalize()} particle diffusivity [m2.s-1]' of {self.name} is "
                "not a function of stoichiometry times a function of temperature",
                fix="use one that is",
            )
        return _fixed(np.log(table[middle])), _fixed(relative)

    def exchange_current(
        self, title: str, maximum: float
    ) -> tuple[FloatArray, tuple[float, float, float]]:
        name = f"{title} electrode exchange-current density [A.m-2]"
        side = title.lower()
        function = self.function(
            name,
            "Electrolyte concentration [mol.m-3]",
            f"{title} particle surface concentration [mol.m-3]",
            f"Maximum {side} particle surface concentration [mol.m-3]",
            "Temperature [K]",
        )
        mesh = np.meshgrid(
            np.linspace(50, 3000, 7),
            np.linspace(0.01, 0.99, 15),
            1 / self.inverse_temperature,
            indexing="ij",
        )
        table = np.log(
            self.evaluate(
                function, mesh[0], mesh[1] * maximum, np.full_like(mesh[0], maximum), mesh[2]
            )
        )
        terms = np.stack(
            [np.log(mesh[0] / REFERENCE_CONCENTRATION), np.log(mesh[1]), np.log(1 - mesh[1])], -1
        )[:, :, 0].reshape(-1, 3)
        design = np.column_stack([terms, np.ones(len(terms))])
        found = np.linalg.lstsq(design, table[:, :, 0].reshape(-1), rcond=None)[0]
        exponents = np.round(found[:3] / _EXPONENT_STEP) * _EXPONENT_STEP
        rest = table - (terms @ exponents).reshape(table.shape[:2])[:, :, None]
        log_rate = rest.mean(axis=(0, 1))
        if not np.allclose(rest, log_rate, rtol=0, atol=_SEPARABLE):
            raise InputError(
                f"PyBaMM's '{name}' of {self.name} is not k(T) c_e^a sto^b (1 - sto)^c",
                fix="use one that is",
            )
        first, second, third = (float(exponent) for exponent in exponents)
        return _fixed(log_rate), (first, second, third)

    def heat_capacity(self) -> float:
        reference = self.constant("Reference temperature [K]")
        temperature = np.array([reference, *np.linspace(*_HEAT_CAPACITY_RANGE, 13)])
        table = self.evaluate(lambda t: self.param.rho_c_p_eff(t), temperature)
        if np.ptp(table[1:]) > _HEAT_CAPACITY_CHANGE * table[0]:
            raise InputError(
                f"the heat capacities of {self.name} depend on temperature",
                fix="give constants for PyBaMM's specific heat capacities",
            )
        return float(table[0]) * self.constant("Cell volume [m3]")


_POSITION = {
    "Through-cell distance (x) [m]": (0.0, 1e-4),
    "Horizontal distance (y) [m]": (0.0, 0.1),
    "Vertical distance (z) [m]": (0.0, 0.1),
}


def _fixed(array: FloatArray) -> FloatArray:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
