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

import difflib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from batterykit.errors import InputError, UsageError

if TYPE_CHECKING:
    import pybamm

FloatArray = npt.NDArray[np.float64]

Inputs = dict[str, tuple[float, float]]  # name of a function's input: its lowest and highest value

SETS = Path(__file__).parent / "sets"  # parameter sets of ours, NAME.json

TEMPERATURES = (248.15, 383.15)  # K, range of all tables
TEMPERATURE_STEP = 2.5  # K, of the electrolyte's tables
CONCENTRATIONS = (0.0, 4000.0)  # mol/m3
CONCENTRATION_STEP = 20.0  # mol/m3
REFERENCE_CONCENTRATION = 1000.0  # mol/m3, to which the exchange current refers
POTENTIAL_PIECES = 500
DIFFUSIVITY_POINTS = 501
ARRHENIUS_POINTS = 41

_NEEDED = ((273.15, 333.15), 3000.0)  # K, mol/m3: where an electrolyte must make sense
_CONDUCTIVITIES = (1e-6, 1e2)  # S/m, what makes sense
_DIFFUSIVITIES = (1e-16, 1e-7)  # m2/s
_THERMODYNAMIC = (1e-3, 1e3)
_SEPARABLE = 1e-6  # relative; what a product of functions may be wrong by
_DIFFUSIVITY_MISFIT = 0.02  # relative, of straight lines half-way between two points
_ARRHENIUS_MISFIT = 1e-4  # relative, of ln-linear interpolation in 1/T
_EXPONENT_DIGITS = 9
_HEAT_CAPACITY_CHANGE = 0.01  # relative, over the temperatures of _NEEDED
_POTENTIAL_MISFIT = 1e-3  # V, of a cubic half-way between two nodes
_ENTROPIC_MISFIT = 1e-5  # V/K
_STEEP_PIECES = 5  # at either end, that may be steeper than that

_POSITION: Inputs = {
    "Through-cell distance (x) [m]": (0.0, 1e-4),
    "Horizontal distance (y) [m]": (0.0, 0.1),
    "Vertical distance (z) [m]": (0.0, 0.1),
}
_TEMPERATURE: Inputs = {"Temperature [K]": TEMPERATURES}


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
        D over D at 0.5, at 501 equally spaced stoichiometries from 0 to 1, shape (501,).
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
        constant below 10 mol/m3. Where a function leaves what makes sense (1e-6 to 100 S/m, 1e-16
        to 1e-7 m2/s) below 0 degC, above 60 degC or above 3000 mol/m3, its last value at a lower
        concentration is held; nearer to normal that is an error.
    inverse_temperature_grid
        41 equal steps from 1/383.15 to 1/248.15 [1/K], so temperature falls along it.
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
        Name of a set of ours (a file of `SETS`) or of PyBaMM's; path of a BPX file or of a set in
        the form of ours; or PyBaMM's `ParameterValues`. Our sets are JSON objects with "base" (a
        name of PyBaMM's), "source" (where the numbers come from) and "changes": for PyBaMM's
        parameter names a number to use instead, or ``{"factor": number}`` to multiply with.
    **changes
        Numbers to use instead of single parameters, by PyBaMM's names; they come last.

    Returns
    -------
    CellParameters
        For a name the same object each time.

    Raises
    ------
    UsageError
        Neither a name nor a file.
    InputError
        The source cannot be read, lacks a parameter, or has one that makes no sense or that the
        tables cannot hold. The text names PyBaMM's parameter.
    """
    os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
    if isinstance(source, str | Path):
        if Path(source).suffix == ".json":
            return _read_file(Path(source), changes)
        return _read_named(str(source), tuple(sorted(changes.items())))
    return _read(source, changes, "ParameterValues", "PyBaMM ParameterValues")


@lru_cache(maxsize=32)
def _read_named(name: str, changes: tuple[tuple[str, float], ...]) -> CellParameters:
    import pybamm

    ours = {path.stem: path for path in sorted(SETS.glob("*.json"))}
    if name in ours:
        return _read_file(ours[name], dict(changes))
    if name not in pybamm.parameter_sets:
        raise UsageError(
            f"no parameter set is called '{name}'",
            fix=f"one of {', '.join([*ours, *pybamm.parameter_sets])}, or the path of a BPX file "
            "that ends with .json",
        )
    values = pybamm.ParameterValues(name)
    return _read(values, dict(changes), name, _citation(name, values))


def _citation(name: str, values: pybamm.ParameterValues) -> str:
    import pybamm

    keys = ", ".join(values.get("citations") or [])
    return f"PyBaMM {pybamm.__version__}, parameter set {name}" + (f" ({keys})" if keys else "")


def _read_file(path: Path, changes: Mapping[str, float]) -> CellParameters:
    """Read a BPX file or a set in the form of ours."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read as JSON: {error}",
            fix="give a BPX file, or a parameter set with base, source and changes",
            file=path,
        ) from error
    if isinstance(content, dict) and "Parameterisation" in content:
        return _read(_bpx_values(path), changes, path.name, _bpx_source(path, content))
    return _read_set(path, content, changes)


def _bpx_values(path: Path) -> pybamm.ParameterValues:
    import pybamm

    try:
        return pybamm.ParameterValues.create_from_bpx(path)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the package {error.name} that reads BPX files is not installed",
            fix="pip install bpx",
            file=path,
        ) from error
    except Exception as error:  # of bpx, pydantic, PyBaMM or the file's own functions
        raise InputError(
            f"is not a BPX file that PyBaMM takes: {' '.join(str(error).split())}",
            fix="correct the file; https://bpxstandard.com describes it",
            file=path,
        ) from error


def _bpx_source(path: Path, content: Mapping[str, Any]) -> str:
    header = content.get("Header") or {}
    parts = [header.get("Title"), header.get("References")]
    return ", ".join([f"BPX file {path.name}", *(str(part) for part in parts if part)])


def _read_set(path: Path, content: object, changes: Mapping[str, float]) -> CellParameters:
    import pybamm

    form = '{"base": name, "source": text, "changes": {parameter: number or {"factor": number}}}'
    if not isinstance(content, dict) or set(content) != {"base", "source", "changes"}:
        raise InputError(
            "is neither a BPX file nor a parameter set", fix=f"write {form}", file=path
        )
    base, source, own = content["base"], content["source"], content["changes"]
    if not (isinstance(source, str) and source.strip() and isinstance(own, dict)):
        raise InputError(
            "source or changes are not what they must be", fix=f"write {form}", file=path
        )
    if base not in pybamm.parameter_sets:
        raise InputError(
            f"its base '{base}' is not a parameter set of PyBaMM",
            fix=f"one of {', '.join(pybamm.parameter_sets)}",
            file=path,
        )
    values = pybamm.ParameterValues(base)
    replaced: dict[str, Any] = {}
    for name, change in own.items():
        if not isinstance(change, dict):
            replaced[name] = change
        elif set(change) == {"factor"} and name in values:
            replaced[name] = scaled(values[name], _number(name, change["factor"]))
        else:
            raise InputError(
                f"cannot change '{name}' by {json.dumps(change)}",
                fix=f'a number, or {{"factor": number}} if {base} has that parameter',
                file=path,
            )
    source = f"{source}; the rest: {_citation(base, values)}"
    return _read(values, {**replaced, **changes}, path.stem, source)


def scaled(value: Any, factor: Any) -> Any:  # noqa: ANN401 - PyBaMM's values have no types
    """Return a value of PyBaMM's parameters (number, function or table) times a factor.

    Parameters
    ----------
    value
        A number, a callable, or PyBaMM's tuple of a name, points and a table.
    factor
        A number or a symbol of PyBaMM.
    """
    if callable(value):
        return lambda *inputs: factor * value(*inputs)
    if isinstance(value, tuple):
        name, (points, table) = value
        return name, (points, factor * np.asarray(table))
    return factor * value


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"'{name}' is changed to {value!r}", fix="give a finite number")
    return float(value)


def _read(
    values: pybamm.ParameterValues, changes: Mapping[str, Any], name: str, source: str
) -> CellParameters:
    """Read parameter values with some of them changed; the values given stay as they are."""
    values = values.copy()
    for parameter, change in changes.items():
        if not (callable(change) or isinstance(change, tuple)):
            _number(parameter, change)
    values.update(dict(changes), check_already_exists=False)
    reader = _Reader(values, name, source)
    cell = reader.read()
    idle = set(changes) - reader.used
    if idle:
        parameter = min(idle)
        close = difflib.get_close_matches(parameter, reader.used, n=3) or sorted(reader.used)[:3]
        raise InputError(
            f"a change of '{parameter}' in {name} would change nothing",
            fix="a name of PyBaMM's, for example " + ", ".join(f"'{near}'" for near in close),
        )
    return cell


class _Reader:
    """Evaluates one set of parameter values; `used` holds the names that have been looked up."""

    def __init__(self, values: pybamm.ParameterValues, name: str, source: str) -> None:
        import pybamm

        self.pybamm = pybamm
        self.values = values
        self.name = name
        self.source = source
        self.names = set(values.keys())
        self.used: set[str] = set()
        self.param = pybamm.LithiumIonParameters(pybamm.BatteryModelOptions({"thermal": "lumped"}))
        self.inverse_temperature = np.linspace(
            1 / TEMPERATURES[1], 1 / TEMPERATURES[0], ARRHENIUS_POINTS
        )

    def read(self) -> CellParameters:
        self.refuse_other_models()
        scalar = self.constant
        if scalar("Number of cells connected in series to make a battery") != 1:
            raise self.error(
                "Number of cells connected in series to make a battery",
                "is not 1",
                "give the parameters of one cell; the pack is built of cells",
            )
        temperature = _grid(TEMPERATURES, TEMPERATURE_STEP)
        concentration = _grid(CONCENTRATIONS, CONCENTRATION_STEP)
        area = (
            scalar("Electrode width [m]")
            * scalar("Electrode height [m]")
            * scalar("Number of electrodes connected in parallel to make a cell")
        )
        collectors = sum(
            scalar(f"{side} current collector thickness [m]", zero=True)
            / scalar(f"{side} current collector conductivity [S.m-1]")
            for side in ("Negative", "Positive")
        )
        porosity = scalar("Separator porosity", _POSITION, at_most=1)
        lower, upper = scalar("Lower voltage cut-off [V]"), scalar("Upper voltage cut-off [V]")
        if lower >= upper:
            raise self.error(
                "Lower voltage cut-off [V]",
                f"is {lower} V, the upper one {upper} V",
                "correct them",
            )
        return CellParameters(
            name=self.name,
            source=self.source,
            negative=self.electrode("negative"),
            positive=self.electrode("positive"),
            separator_thickness=scalar("Separator thickness [m]"),
            separator_porosity=porosity,
            separator_transport_efficiency=porosity
            ** scalar("Separator Bruggeman coefficient (electrolyte)", zero=True),
            electrode_area=area,
            electrolyte_concentration=scalar("Initial concentration in electrolyte [mol.m-3]"),
            transference=scalar(
                "Cation transference number",
                {"Electrolyte concentration [mol.m-3]": (100.0, 3000.0), **_TEMPERATURE},
                at_most=1,
            ),
            temperature_grid=_fixed(temperature),
            concentration_grid=_fixed(concentration),
            conductivity=self.electrolyte(
                "Electrolyte conductivity [S.m-1]", self.param.kappa_e, _CONDUCTIVITIES
            ),
            electrolyte_diffusivity=self.electrolyte(
                "Electrolyte diffusivity [m2.s-1]", self.param.D_e, _DIFFUSIVITIES
            ),
            thermodynamic=self.electrolyte("Thermodynamic factor", self.param.chi, _THERMODYNAMIC),
            inverse_temperature_grid=_fixed(self.inverse_temperature),
            heat_capacity=self.heat_capacity() * scalar("Cell volume [m3]"),
            cooling=scalar("Total heat transfer coefficient [W.m-2.K-1]", zero=True)
            * scalar("Cell cooling surface area [m2]"),
            collector_resistance=collectors / area,
            contact_resistance=scalar("Contact resistance [Ohm]", _TEMPERATURE, zero=True)
            if "Contact resistance [Ohm]" in self.names
            else 0.0,
            reference_temperature=scalar("Reference temperature [K]"),
            ambient_temperature=scalar(
                "Ambient temperature [K]",
                {
                    "Distance across electrode width [m]": (0.0, 0.1),
                    "Distance across electrode height [m]": (0.0, 0.1),
                    "Time [s]": (0.0, 1e4),
                },
            ),
            lower_voltage=lower,
            upper_voltage=upper,
            nominal_capacity=scalar("Nominal cell capacity [A.h]"),
        )

    def electrode(self, side: str) -> ElectrodeParameters:
        scalar = self.constant
        title = side.capitalize()
        bruggeman = f"{title} electrode Bruggeman coefficient"
        active_name = f"{title} electrode active material volume fraction"
        porosity = scalar(f"{title} electrode porosity", _POSITION, at_most=1)
        active = scalar(active_name, _POSITION, at_most=1)
        if porosity + active > 1 + 1e-9:
            raise self.error(
                active_name,
                f"is {active:.6g} beside a porosity of {porosity:.6g}: more than all",
                "give volume fractions whose sum is at most 1",
            )
        maximum = scalar(f"Maximum concentration in {side} electrode [mol.m-3]")
        initial = scalar(
            f"Initial concentration in {side} electrode [mol.m-3]",
            {"Radial distance (r) [m]": (0.0, 1e-6), "Through-cell distance (x) [m]": (0.0, 1e-4)},
            at_most=maximum,
        )
        log_diffusivity, relative_diffusivity = self.diffusivity(side, maximum)
        log_rate, exponents = self.exchange_current(side, maximum)
        return ElectrodeParameters(
            thickness=scalar(f"{title} electrode thickness [m]"),
            porosity=porosity,
            transport_efficiency=porosity ** scalar(f"{bruggeman} (electrolyte)", zero=True),
            active_fraction=active,
            particle_radius=scalar(
                f"{title} particle radius [m]", {"Through-cell distance (x) [m]": (0.0, 1e-4)}
            ),
            conductivity=scalar(
                f"{title} electrode conductivity [S.m-1]",
                {f"{title} electrode stoichiometry": (0.01, 0.99), **_TEMPERATURE},
            )
            * (1 - porosity) ** scalar(f"{bruggeman} (electrode)", zero=True),
            max_concentration=maximum,
            initial_stoichiometry=initial / maximum,
            potential=self.pieces(f"{title} electrode OCP [V]", title, _POTENTIAL_MISFIT),
            entropic=self.pieces(
                f"{title} electrode OCP entropic change [V.K-1]", title, _ENTROPIC_MISFIT
            ),
            log_diffusivity=log_diffusivity,
            relative_diffusivity=relative_diffusivity,
            log_rate=log_rate,
            exchange_exponents=exponents,
        )

    def refuse_other_models(self) -> None:
        """Raise the clear error for sets that are made for another kind of model."""
        for start, what in (
            ("Primary: ", "two particle phases in one electrode"),
            (
                "Exchange-current density for lithium metal electrode",
                "an electrode of lithium metal",
            ),
            ("Negative electrode host site", "the MSMR form of the open-circuit potential"),
        ):
            names = sorted(name for name in self.names if name.startswith(start))
            if names:
                raise self.error(
                    names[0],
                    f"belongs to {what}, which the cell model does not have",
                    "take a set for a cell with two porous electrodes of one phase each, "
                    "for example Chen2020 or OKane2022",
                )
        for title in ("Negative", "Positive"):
            branch = f"{title} electrode lithiation OCP [V]"
            plain = f"{title} electrode OCP [V]"
            if branch in self.names and plain not in self.names:
                raise self.error(
                    branch,
                    "is one branch of a hysteresis, which the cell model does not have",
                    f"give one potential, '{plain}'",
                )

    def error(self, name: str, problem: str, fix: str) -> InputError:
        return InputError(f"PyBaMM's parameter '{name}' of {self.name} {problem}", fix=fix)

    def evaluate(
        self,
        name: str,
        function: Callable[..., Any],
        *arrays: FloatArray,
    ) -> FloatArray:
        """Evaluate a function of pybamm symbols on arrays that broadcast; not finite is nan."""
        mesh = np.broadcast_arrays(*arrays)
        symbol = function(*(self.pybamm.Vector(array.reshape(-1)) for array in mesh))
        wanted = self.names_in(symbol)
        missing = wanted - self.names
        if missing:
            raise self.error(
                min(missing),
                "is missing",
                f"add it: read_parameters(..., **{{'{min(missing)}': number}})",
            )
        try:
            with np.errstate(all="ignore"):
                self.used |= wanted | self.names_behind(symbol)
                value = np.asarray(self.values.process_symbol(symbol).evaluate(t=0.0), dtype=float)
        except Exception as error:  # of a function that somebody else has written
            raise self.error(
                name, f"cannot be evaluated: {error}", "give it a number or another function"
            ) from error
        value = np.broadcast_to(value.reshape(-1), (mesh[0].size,)).reshape(mesh[0].shape)
        return np.where(np.isfinite(value), value, np.nan)

    def names_in(self, symbol: pybamm.Symbol) -> set[str]:
        kinds = self.pybamm.Parameter | self.pybamm.FunctionParameter
        return {node.name for node in symbol.pre_order() if isinstance(node, kinds)}

    def names_behind(self, symbol: pybamm.Symbol) -> set[str]:
        """Return the parameters that the set's own functions ask for."""
        names: set[str] = set()
        for node in symbol.pre_order():
            value = self.values[node.name] if node.name in self.names else None
            if isinstance(node, self.pybamm.FunctionParameter) and callable(value):
                inner = value(*node.children)
                if isinstance(inner, self.pybamm.Symbol):
                    names |= self.names_in(inner) | self.names_behind(inner)
        return names

    def function(self, name: str, *inputs: str) -> Callable[..., Any]:
        """Return a parameter as a function of pybamm symbols."""
        return lambda *symbols: self.pybamm.FunctionParameter(
            name, dict(zip(inputs, symbols, strict=True))
        )

    def constant(
        self,
        name: str,
        inputs: Inputs | None = None,
        *,
        zero: bool = False,
        at_most: float = math.inf,
    ) -> float:
        """Return a positive number that must not depend on what PyBaMM lets it depend on."""
        if inputs is None:
            values = self.evaluate(name, lambda _: self.pybamm.Parameter(name), np.zeros(1))
        else:
            axes = [np.linspace(low, high, 5) for low, high in inputs.values()]
            mesh = np.meshgrid(*axes, indexing="ij")
            values = self.evaluate(name, self.function(name, *inputs), *mesh)
            changing = [
                which
                for axis, which in enumerate(inputs)
                if (np.ptp(values, axis=axis) > 1e-9 * np.abs(values).max()).any()
            ]
            if changing:
                these = "' and '".join(changing)
                raise self.error(
                    name,
                    f"depends on '{these}', and one number is needed",
                    "give one, for example "
                    f"read_parameters(..., **{{'{name}': {values.flat[values.size // 2]:.6g}}})",
                )
        value = float(values.flat[0])
        if not (0 < value <= at_most or (zero and value == 0)):
            limit = f" and at most {at_most:g}" if at_most < math.inf else ""
            raise self.error(
                name, f"is {value}", f"give a number {'not below' if zero else 'above'} 0{limit}"
            )
        return value

    def electrolyte(
        self, name: str, function: Callable[..., Any], sense: tuple[float, float]
    ) -> FloatArray:
        """Return a function of concentration and temperature on the grids."""
        temperature = _grid(TEMPERATURES, TEMPERATURE_STEP)
        concentration = _grid(CONCENTRATIONS, CONCENTRATION_STEP)
        mesh = np.meshgrid(temperature, concentration, indexing="ij")
        table = self.evaluate(name, function, mesh[1], mesh[0])
        bad = ~((table >= sense[0]) & (table <= sense[1]))
        (coldest, hottest), most = _NEEDED
        needed = (mesh[0] >= coldest) & (mesh[0] <= hottest) & (mesh[1] <= most)
        wrong = bad & (needed | (mesh[1] == 0))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise self.error(
                name,
                f"gives {table[row, column]:.3g} at {concentration[column]:g} mol/m3 and "
                f"{temperature[row]:g} K",
                f"give a function that stays within {sense[0]:g} to {sense[1]:g}",
            )
        for row in np.flatnonzero(bad.any(axis=1)):
            first = int(np.argmax(bad[row]))
            table[row, first:] = table[row, first - 1]
        return _fixed(table)

    def pieces(self, name: str, title: str, misfit: float) -> FloatArray:
        """Return a function of stoichiometry as cubics with its values and slopes at the nodes.

        A first or last piece that no cubic fits (there are functions that go to infinity) is
        continued in a straight line from inside.
        """
        width = 1 / POTENTIAL_PIECES
        step = width / 20
        nodes = np.linspace(0, 1, POTENTIAL_PIECES + 1)
        away = step * np.array([0, 1, 2, 3, 4])

        def potential(sto: FloatArray) -> FloatArray:
            function = self.function(name, f"{title} particle stoichiometry")
            return self.evaluate(name, function, np.clip(sto, 1e-10, 1 - 1e-10))

        value = potential(nodes)
        around = potential(nodes[1:-1, None] + step * np.array([-2, -1, 1, 2]))
        one_sided = np.array([-25, 48, -36, 16, -3])
        slope = np.concatenate(
            [
                [potential(away) @ one_sided],
                around @ np.array([1, -8, 8, -1]),
                [-potential(1 - away) @ one_sided],
            ]
        ) / (12 * step)
        rise = np.diff(value) / width
        third = (slope[:-1] + slope[1:] - 2 * rise) / width**2
        second = (3 * rise - 2 * slope[:-1] - slope[1:]) / width
        pieces = np.stack([third, second, slope[:-1], value[:-1]], axis=1)
        middle = potential(nodes[:-1] + width / 2)
        wrong = ~(np.abs(pieces @ (width / 2) ** np.array([3, 2, 1, 0]) - middle) <= misfit)
        if wrong[0]:
            pieces[0] = 0, 0, slope[1], value[1] - slope[1] * width
        if wrong[-1]:
            pieces[-1] = 0, 0, slope[-2], value[-2]
        if wrong[_STEEP_PIECES:-_STEEP_PIECES].any() or not np.isfinite(pieces).all():
            wrong[[0, -1]] = False
            place = nodes[np.argmax(wrong)]
            raise self.error(
                name,
                f"jumps or is not a number between stoichiometries {place:.3f} and "
                f"{place + width:.3f}",
                f"give a function that {POTENTIAL_PIECES} cubics can follow",
            )
        return _fixed(pieces)

    def diffusivity(self, side: str, maximum: float) -> tuple[FloatArray, FloatArray]:
        """Return ln D at stoichiometry 0.5 against 1/T, and D over that against stoichiometry."""
        name = f"{side.capitalize()} particle diffusivity [m2.s-1]"
        particle = getattr(self.param, side[0]).prim

        def table(sto: FloatArray, inverse_temperature: FloatArray) -> FloatArray:
            return self.evaluate(
                name,
                lambda s, t: particle.D(s * maximum, t),
                sto[:, None],
                1 / inverse_temperature,
            )

        values = table(np.linspace(0, 1, DIFFUSIVITY_POINTS), self.inverse_temperature)
        if not (values > 0).all():
            raise self.error(
                name, "is not above 0 everywhere", "give a positive function or number"
            )
        middle = values[DIFFUSIVITY_POINTS // 2]
        relative = values[:, 0] / middle[0]
        if not np.allclose(values, relative[:, None] * middle, rtol=_SEPARABLE, atol=0):
            raise self.error(
                name,
                "is not a function of stoichiometry times a function of temperature",
                f"give one that is, or the number {middle[ARRHENIUS_POINTS // 2]:.3g}",
            )
        half = 0.5 / (DIFFUSIVITY_POINTS - 1)
        true = table(np.linspace(half, 1 - half, DIFFUSIVITY_POINTS - 1), self.inverse_temperature)
        line = (values[1:] + values[:-1]) / 2
        if not np.abs(line / true - 1).max() <= _DIFFUSIVITY_MISFIT:
            raise self.error(
                name,
                "changes with stoichiometry too steeply",
                f"give a function that {DIFFUSIVITY_POINTS - 1} straight lines can follow, "
                f"or the number {middle[ARRHENIUS_POINTS // 2]:.3g}",
            )
        log_diffusivity = np.log(middle)
        self.check_arrhenius(
            name, log_diffusivity, lambda inverse: np.log(table(np.array([0.5]), inverse)[0])
        )
        return _fixed(log_diffusivity), _fixed(relative)

    def exchange_current(
        self, side: str, maximum: float
    ) -> tuple[FloatArray, tuple[float, float, float]]:
        """Return ln k against 1/T, and the exponents of c_e, sto and 1 - sto."""
        title = side.capitalize()
        name = f"{title} electrode exchange-current density [A.m-2]"
        function = self.function(
            name,
            "Electrolyte concentration [mol.m-3]",
            f"{title} particle surface concentration [mol.m-3]",
            f"Maximum {side} particle surface concentration [mol.m-3]",
            "Temperature [K]",
        )
        salt, sto = (
            axis.reshape(-1, 1)
            for axis in np.meshgrid(np.linspace(50, 3000, 7), np.linspace(0.01, 0.99, 15))
        )

        def log_table(inverse_temperature: FloatArray) -> FloatArray:
            arrays = (salt, sto * maximum, np.full((1, 1), maximum), 1 / inverse_temperature)
            value = self.evaluate(name, function, *arrays)
            if not (value > 0).all():
                raise self.error(name, "is not above 0 everywhere", "give a positive function")
            return np.log(value)

        powers = np.log(np.concatenate([salt / REFERENCE_CONCENTRATION, sto, 1 - sto], axis=1))
        table = log_table(self.inverse_temperature)
        fit, *_ = np.linalg.lstsq(
            np.column_stack([powers, np.ones(len(powers))]), table[:, 0], rcond=None
        )
        exponents = np.round(fit[:3], _EXPONENT_DIGITS)
        rates = table - (powers @ exponents)[:, None]
        log_rate = rates.mean(axis=0)
        if not np.allclose(rates, log_rate, rtol=0, atol=_SEPARABLE):
            raise self.error(
                name,
                "is not k(T) c_e^a sto^b (1 - sto)^c",
                "give a function of that form with constant a, b and c",
            )
        self.check_arrhenius(
            name,
            log_rate,
            lambda inverse: (log_table(inverse) - (powers @ exponents)[:, None]).mean(axis=0),
        )
        of_salt, of_sto, of_rest = (float(exponent) for exponent in exponents)
        return _fixed(log_rate), (of_salt, of_sto, of_rest)

    def check_arrhenius(
        self, name: str, logarithm: FloatArray, function: Callable[[FloatArray], FloatArray]
    ) -> None:
        """Raise unless straight lines between the points in 1/T follow the function."""
        between = (self.inverse_temperature[1:] + self.inverse_temperature[:-1]) / 2
        line = (logarithm[1:] + logarithm[:-1]) / 2
        if not np.abs(function(between) - line).max() <= _ARRHENIUS_MISFIT:
            raise self.error(
                name,
                "depends on temperature in a way that is far from Arrhenius'",
                f"give a function that is smooth from {TEMPERATURES[0]} to {TEMPERATURES[1]} K",
            )

    def heat_capacity(self) -> float:
        """Return the heat capacity of a volume [J/K/m3] at the reference temperature."""
        temperature = np.linspace(*_NEEDED[0], 13)
        reference = np.array([self.constant("Reference temperature [K]")])
        effective = self.param.rho_c_p_eff
        names = self.names_in(effective(self.pybamm.Vector(reference)))
        value = float(self.evaluate("heat capacity", effective, reference)[0])
        values = self.evaluate("heat capacity", effective, temperature)
        if not value > 0 or np.isnan(values).any():
            raise self.error(
                min(names), f"makes the heat capacity {value}", "give positive numbers"
            )
        if np.ptp(values) <= _HEAT_CAPACITY_CHANGE * value:
            return value
        constants = {}
        for name in sorted(names):
            function = self.function(name, "Temperature [K]")
            if np.ptp(self.evaluate(name, function, temperature)) > 0:
                constants[name] = round(float(self.evaluate(name, function, reference)[0]), 2)
        raise self.error(
            "', '".join(constants),
            f"make the heat capacity change by {np.ptp(values) / value:.0%} between 0 and 60 degC, "
            "and one number is needed",
            f"give constants, for example read_parameters(..., **{constants})",
        )


def _grid(ends: tuple[float, float], step: float) -> FloatArray:
    return np.linspace(*ends, round((ends[1] - ends[0]) / step) + 1)


def _fixed(array: FloatArray) -> FloatArray:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
