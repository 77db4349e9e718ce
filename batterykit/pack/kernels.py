"""The equations of the pack simulator, compiled; state in, state out, nothing allocated.

All compiled functions are in this one file, because numba's cache on disk notices a change of the
file that a function is in and of no other.

**Signs.** Current is positive on charge. In each electrode xi runs from its current collector (0)
to the separator (L), so that one set of equations serves both: J = s i is the current density that
passes from solid to electrolyte in the electrode, with s = -1 in the negative and +1 in the
positive one, and j [A/m2 of particle surface] is positive where lithium leaves the particle.

**Particle** (sphere, radius R, Fick's law). The stoichiometry at its surface is the mean plus a
deviation::

    c_surf = c_mean + sum_m w_m q_m        dc_mean/dt = -3 j / (F R c_max)
    dq_m/dt = lambda_m D/R2 (u - q_m)      u = -j R / (F c_max D)

For constant j the exact deviation is u (1/5 - sum_m 2/b_m2 exp(-b_m2 D t/R2)) with tan b_m = b_m
(Crank, The Mathematics of Diffusion, 2nd ed. 1975, eq. 6.45): infinitely many modes, of which the
fast ones matter in the first seconds. `simulator.MODES` are six in their place, whose sum is within
7e-4 of the final value at all times. D scales all lambda alike, and every mode is solved exactly
for a j that is constant over the step: q <- u + (q - u) exp(-lambda D dt / R2).

**Electrolyte** (finite volumes). eps dc/dt = d/dx (tau D_e dc/dx) + (1 - t+) a j / F, by the SDIRK
of two stages and order 2 that is L-stable (Alexander, SIAM J. Numer. Anal. 14 (1977) 1006), with
D_e as it is at the start of the step. Potentials are found with the salt that the last distribution
of j along the electrode would leave, then the salt is moved by the j found. The first is affine in
the cell's current, so that the current that Kirchhoff's laws give a cell and the salt
that this current moves are found together.

**Potentials.** SPMe: Marquis et al., J. Electrochem. Soc. 166 (2019) A3693, in the form that PyBaMM
has: one particle an electrode, uniform j, conductivities at one concentration. DFN: Doyle, Fuller,
Newman, J. Electrochem. Soc. 140 (1993) 1526; see `_dfn_faces`.

**Heat** (lumped; Timms et al., SIAM J. Appl. Math. 81 (2021) 765). With the potentials above, the
ohmic and reaction heats add up to what goes in less what is stored, I V - A sum(a h j U).
"""

from __future__ import annotations

from math import exp, inf, isfinite, isnan, log, nan, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FARADAY = 96485.33212  # C/mol, CODATA 2018
GAS = 8.314462618  # J/(mol K), CODATA 2018

CURRENT, VOLTAGE, POWER, CELL_VOLTAGE = 0, 1, 2, 3  # what a pack's set-point is

(
    OK,
    CELL_VOLTAGE_MAX,
    CELL_VOLTAGE_MIN,
    PACK_VOLTAGE_MAX,
    PACK_VOLTAGE_MIN,
    TEMPERATURE_MAX,
    PLATING_MIN,
    SOC_MAX,
    SOC_MIN,
    CURRENT_MIN,
    DEPLETED,
    STOICHIOMETRY,
    TEMPERATURE_RANGE,
    NO_SOLUTION,
    NO_STEP,  # not a step at all; the state is as it was
) = range(15)

STAGE = 1 - sqrt(0.5)  # the SDIRK's gamma
ITERATIONS = 120
DAMPED_FROM, DAMPED_TO = 8, 80  # of them: corrections that go to and fro end when halved
TOLERANCE = 3e-5  # V, Newton's last correction; what is left is its square over 2RT/F: 2e-8 V
FLOOR = 1e-7  # of a stoichiometry and of a relative salt concentration, below which nothing is
EVENT_TIME = 0.01  # s
FAR = 0.1  # share by which guessed and found salt concentration may differ after a whole step
SHORTEST = 0.5  # s, of the parts that a step is cut into, see `_step`
DEPLETION = 1e-3  # of the initial salt concentration: no salt is left


# A division by zero gives inf or NaN, which end as NO_SOLUTION.
_compiled = njit(cache=True, error_model="numpy")
_inlined = njit(cache=True, error_model="numpy", forceinline=True)
_called_from_python = njit(cache=True, error_model="numpy", nogil=True)


class Circuit(NamedTuple):
    """A pack's network; node -1 is the negative terminal."""

    plus: IntArray  # (size,)
    minus: IntArray
    series_resistance: FloatArray  # (size,) Ohm
    conductance: FloatArray  # (nodes, bandwidth + 1): of the busbars, lower band
    terminal: int
    terminal_resistance: float
    series: int  # groups from one terminal to the other
    share: float  # of the pack's current that a cell has at first guess, 1 / parallel
    neighbours: IntArray  # (size, 4), -1 where there is none
    coupling: float  # W/K


class Layout(NamedTuple):
    """The records that the kernels work on, as numpy dtypes; all numbers are float64 or int64.

    Records, because they cost a pointer to pass where a tuple of arrays costs a reference count
    for each of its arrays, and because their array lengths are known to the compiler.
    """

    model: np.dtype[np.void]  # what all cells share
    cell: np.dtype[np.void]  # what tells the cells apart
    state: np.dtype[np.void]  # float64 only, so that it is also a row of numbers
    output: np.dtype[np.void]
    work: np.dtype[np.void]  # scratch of a cell; nothing in it outlives a step


def layout(
    nodes: int,
    between: int,
    *,
    particles: int,
    modes: int,
    pieces: tuple[int, ...],
    stoichiometries: tuple[int, ...],
    inverses: tuple[int, ...],
    salts: tuple[int, ...],
) -> Layout:
    """Return the records for `nodes` finite volumes in each electrode, `between` in the separator.

    `particles` is `nodes` (DFN) or 1 (SPMe); the rest are the shapes of tables. What runs along an
    electrode runs from its collector to the separator, what runs along the electrolyte from the
    negative collector to the positive one.
    """
    f, i, whole = np.float64, np.int64, 2 * nodes + between

    electrode = np.dtype(
        [
            ("sign", f),  # -1 negative, +1 positive electrode
            ("thickness", f),  # m
            ("width", f, nodes),  # m
            ("radius", f),  # m
            ("conductivity", f),  # S/m, of the solid
            ("max_concentration", f),  # mol/m3
            ("potential", f, pieces),  # V, cubic pieces
            ("entropic", f, pieces),  # V/K
            ("has_entropic", i),
            ("log_diffusivity", f, inverses),  # over 1/T
            ("relative_diffusivity", f, stoichiometries),
            ("varying_diffusivity", i),
            ("log_rate", f, inverses),  # over 1/T
            ("salt_exponent", f),
            ("full_exponent", f),
            ("empty_exponent", f),
            ("square_roots", i),  # the three exponents are 1/2
            ("first", i),  # the collector's node in the electrolyte
            ("step", i),  # +1 or -1: towards the separator
        ]
    )
    model = np.dtype(
        [
            ("negative", electrode),
            ("positive", electrode),
            ("dfn", i),
            ("decay", f, modes),  # lambda
            ("weight", f, modes),  # w
            ("width", f, whole),  # m
            ("transport", f, whole),
            ("volume", f, whole),  # porosity times width, m
            ("nearness", f, whole),  # 1 / sum of (h / 2 transport) of this node and the next, 1/m
            ("unit", f, whole),  # what i = 1 A/m2 spread evenly puts there, mol/m2/s
            ("separator", i),  # its first node
            ("separator_end", i),  # one past its last node
            ("salt", f),  # mol/m3, initial
            ("property_salt", f),  # mol/m3, where the SPMe takes conductivity and chi
            ("transference", f),
            ("conductivity", f, salts),  # S/m, over T and c_e
            ("diffusivity", f, salts),  # m2/s
            ("thermodynamic", f, salts),
            ("cold", f),  # K, first of the T axis
            ("hot", f),  # K, its last
            ("kelvin", f),  # K, its step
            ("salt_step", f),  # mol/m3, step of the c_e axis, from 0
            ("cold_inverse", f),  # 1/K, first of the 1/T axis
            ("inverse_step", f),
            ("reference_temperature", f),  # K
            ("collector_resistance", f),  # Ohm m2
        ]
    )
    cell = np.dtype(
        [
            ("area", f),  # m2
            ("ne_surface", f),  # a = 3 active / R, 1/m
            ("pe_surface", f),
            ("ne_diffusivity", f),  # factors
            ("pe_diffusivity", f),
            ("ne_rate", f),
            ("pe_rate", f),
            ("film_resistance", f),  # Ohm m2
            ("contact_resistance", f),  # Ohm
            ("cooling", f),  # W/K
            ("heat_capacity", f),  # J/K
            ("ambient", f),  # K
            ("x_0", f),
            ("x_window", f),  # x_100 - x_0
            ("capacity", f),  # C, of the window
            ("connected", i),
        ]
    )
    particle = np.dtype(
        [("mean", f, particles), ("mode", f, (particles, modes)), ("flux", f, particles)]
    )
    state = np.dtype(
        [
            ("temperature", f),  # K
            ("current", f),  # A
            ("negative", particle),  # stoichiometries; flux: the last j, A/m2
            ("positive", particle),
            ("salt", f, whole),  # mol/m3
        ]
    )
    names = ("current", "voltage", "soc", "temperature", "plating", "heat", "reversible", "mixing")
    output = np.dtype([(name, f) for name in names])
    scratch = np.dtype(
        [
            ("decay", f, modes),
            ("base", f, particles),  # surface stoichiometry were j zero
            ("gain", f),  # d surface / d j
            ("target", f),  # u / j
            ("rate", f),  # k of the exchange current density, A/m2
            ("relaxation", f),  # D / R2, 1/s
            ("flux", f, particles),  # j
            ("ocp", f, nodes),  # U
            ("difference", f, nodes),  # Delta = phi_s - phi_e
            ("by_flux", f, nodes),  # d Delta / d j
            ("by_current", f, nodes),  # d Delta / d i through the salt
            ("resistance", f, nodes),  # of the electrolyte over half a node, Ohm m2
            ("log_salt", f, nodes),
            ("log_by_current", f, nodes),
            ("chi", f, nodes),  # chi RT/F, V
            ("pivot", f, nodes),
            ("ionic", f, nodes + 1),  # g at the faces, A/m2
            ("correction", f, nodes + 1),  # of g by Newton, at fixed i
            ("slope", f, nodes + 1),  # dg/di
        ]
    )
    work = np.dtype(
        [
            ("negative", scratch),
            ("positive", scratch),
            ("salt", f, (2, whole)),  # c_e = salt[0] + salt[1] i
            ("source", f, whole),  # of salt[0], mol/m2/s
            ("pivot", f, whole),
            ("link", f, whole),  # to the next node, m
            ("guess", f, whole),  # c_e with which the potentials were found
            ("bend", f, whole),  # c'' h2 / 6 of the nodes beside an interface, mol/m3
            ("current", f),  # A, where the rest is taken
            ("voltage", f),
            ("slope", f),  # dV/dI, Ohm
            ("residual", f),  # V, largest
            ("plating", f),
            ("plating_slope", f),
            ("temperature", f),  # K, at the start of the step
            ("sums", f, 4),  # of current and heats over the parts of a step
        ]
    )
    return Layout(model, cell, state, output, work)


# -- tables -------------------------------------------------------------------------------------


@_inlined
def _cubic(table, at):
    """Return a piecewise cubic on [0, 1] and its slope; a straight line beyond."""
    pieces = table.shape[0]
    inside = min(max(at, 0.0), 1.0)
    k = min(int(inside * pieces), pieces - 1)
    s = inside - k / pieces
    value = ((table[k, 0] * s + table[k, 1]) * s + table[k, 2]) * s + table[k, 3]
    slope = (3 * table[k, 0] * s + 2 * table[k, 1]) * s + table[k, 2]
    return value + slope * (at - inside), slope


@_inlined
def _linear(table, position):
    """Return a table at a position counted in its steps, held at its ends."""
    position = min(max(position, 0.0), table.shape[0] - 1.000001)
    k = int(position)
    return table[k] + (position - k) * (table[k + 1] - table[k])


@_inlined
def _bilinear(table, row, share, column):
    column = min(max(column, 0.0), table.shape[1] - 1.000001)
    k = int(column)
    s = column - k
    cold = table[row, k] + s * (table[row, k + 1] - table[row, k])
    warm = table[row + 1, k] + s * (table[row + 1, k + 1] - table[row + 1, k])
    return cold + share * (warm - cold)


@_inlined
def _row(m, temperature):
    position = (temperature - m.cold) / m.kelvin
    position = min(max(position, 0.0), m.conductivity.shape[0] - 1.000001)
    row = int(position)
    return row, position - row


# -- particles ----------------------------------------------------------------------------------


@_inlined
def _prepare_particles(m, e, p, ew, temperature, dt, diffusivity_factor, rate_factor):
    """Reduce a step of all particles of an electrode to: surface = base + gain j."""
    inverse = (1.0 / temperature - m.cold_inverse) / m.inverse_step
    diffusivity = exp(_linear(e.log_diffusivity, inverse)) * diffusivity_factor
    particles, modes = p.mode.shape
    if e.varying_diffusivity:
        mean = 0.0
        for k in range(particles):
            mean += p.mean[k]
        position = mean / particles * (e.relative_diffusivity.size - 1)
        diffusivity *= _linear(e.relative_diffusivity, position)
    rate = diffusivity / (e.radius * e.radius)
    target = -e.radius / (FARADAY * e.max_concentration * diffusivity)
    gain = -3.0 * dt / (FARADAY * e.radius * e.max_concentration)
    for n in range(modes):
        ew.decay[n] = exp(-m.decay[n] * rate * dt)
        gain += target * m.weight[n] * (1.0 - ew.decay[n])
    for k in range(particles):
        base = p.mean[k]
        for n in range(modes):
            base += m.weight[n] * ew.decay[n] * p.mode[k, n]
        ew.base[k] = base
    ew.gain = gain
    ew.target = target
    ew.rate = exp(_linear(e.log_rate, inverse)) * rate_factor
    ew.relaxation = rate


@_inlined
def _finish_particles(m, e, p, ew, surface_area, dt):
    """Move the particles to the end of the step.

    Returns the heat of mixing per electrode area [W/m2] and whether every surface is between
    empty and full. Each mode is a resistor beside a capacitor: what its resistor dissipates is the
    heat of mixing, with U linear between the mean and the surface.
    """
    particles, modes = p.mode.shape
    capacity = FARADAY * e.max_concentration * surface_area * e.radius / 3.0  # C/m3
    heat = 0.0
    whole = True
    for k in range(particles):
        j = ew.flux[k]
        mean = p.mean[k] - 3.0 * dt * j / (FARADAY * e.radius * e.max_concentration)
        p.mean[k] = mean
        p.flux[k] = j
        target = ew.target * j
        deviation = 0.0
        squares = 0.0
        for n in range(modes):
            q = target + (p.mode[k, n] - target) * ew.decay[n]
            p.mode[k, n] = q
            deviation += m.weight[n] * q
            squares += m.weight[n] * q * q
        whole = whole and 0.0 < mean + deviation < 1.0
        if abs(deviation) > FLOOR:
            width = e.width[k] if particles > 1 else e.thickness
            rise = _cubic(e.potential, mean + deviation)[0] - _cubic(e.potential, mean)[0]
            heat -= capacity * width * 3.0 * ew.relaxation * rise / deviation * squares
    return heat, whole


@_inlined
def _equilibrium(e, surface, excess):
    """Return U and its slope at a surface stoichiometry, `excess` kelvin above the reference."""
    potential, slope = _cubic(e.potential, surface)
    if e.has_entropic:
        change, change_slope = _cubic(e.entropic, surface)
        potential += change * excess
        slope += change_slope * excess
    return potential, slope


@_inlined
def _kinetics(e, rate, salt, surface, j, thermal):
    """Return the overpotential of j, and its derivatives to j, to the surface and to ln c_e.

    eta = 2RT/F asinh(j / 2 j0), j0 = k c_e^a s^b (1-s)^c; `thermal` is 2RT/F, `salt` is c_e in
    units of 1000 mol/m3.
    """
    s = min(max(surface, FLOOR), 1.0 - FLOOR)
    if e.square_roots:
        j0 = rate * sqrt(salt * s * (1.0 - s))
    else:
        j0 = rate * salt**e.salt_exponent * s**e.full_exponent * (1.0 - s) ** e.empty_exponent
    y = 0.5 * j / j0
    root = sqrt(1.0 + y * y)
    eta = thermal * log(abs(y) + root)
    if y < 0.0:
        eta = -eta
    per_log = -thermal * y / root  # d eta / d ln j0
    by_surface = (
        per_log * (e.full_exponent - s * (e.full_exponent + e.empty_exponent)) / (s * (1.0 - s))
    )
    return eta, 0.5 * thermal / (j0 * root), by_surface, per_log * e.salt_exponent


# -- electrolyte --------------------------------------------------------------------------------


@_inlined
def _bend(m, s, k, inwards):
    """Return c'' h2 / 6 of a node from a parabola through its mean and the next two inwards.

    A parabola's value at the edge is its mean over the node + c' h / 2 - c'' h2 / 6: without the
    last term, the only one of second order that the scheme would miss, the interfaces between
    electrodes and separator spoil what is exact everywhere else.
    """
    h0, h1, h2 = m.width[k], m.width[k + inwards], m.width[k + 2 * inwards]
    c0, c1, c2 = s.salt[k], s.salt[k + inwards], s.salt[k + 2 * inwards]
    second = 6.0 * ((c0 - c1) / (h0 + h1) - (c1 - c2) / (h1 + h2)) / (h0 + h1 + h2)
    return second * h0 * h0 / 6.0


@_inlined
def _prepare_salt(m, s, w, dt):
    """Factorise the electrolyte's step: links between the nodes, and pivots."""
    nodes = m.width.size
    for k, inwards in (
        (m.separator - 1, -1),
        (m.separator, 1),
        (m.separator_end - 1, -1),
        (m.separator_end, 1),
    ):
        w.bend[k] = _bend(m, s, k, inwards)
    table, share = _row(m, s.temperature)
    per_salt = 1.0 / m.salt_step
    last_c, last_d = 0.0, 0.0
    for k in range(nodes):
        c = s.salt[k]
        diffusivity = _bilinear(m.diffusivity, table, share, c * per_salt)
        if k > 0:
            middle = _bilinear(m.diffusivity, table, share, 0.5 * (c + last_c) * per_salt)
            mean = (last_d + 4.0 * middle + diffusivity) / 6.0
            w.link[k - 1] = STAGE * dt * mean * m.nearness[k - 1]
        last_c, last_d = c, diffusivity
    w.link[nodes - 1] = 0.0
    before = 0.0
    carried = 0.0
    for k in range(nodes):
        after = w.link[k]
        inverse = 1.0 / (m.volume[k] + before + after - carried)
        w.pivot[k] = inverse
        before = after
        carried = after * after * inverse


@_inlined
def _set_source(m, e, ew, w, surface_area, evenly):
    yielded = (1.0 - m.transference) / FARADAY * surface_area
    for k in range(e.width.size):
        n = e.first + e.step * k
        w.source[n] = yielded * e.width[k] * ew.flux[k] - m.unit[n] * evenly


@_inlined
def _set_sources(m, w, cell, dt, evenly):
    """Set what flows into the nodes of the electrolyte beside diffusion [mol/m2/s].

    That is what j puts there beyond what `evenly` [A/m2] spread evenly would (nothing in the
    SPMe), and what the bends at the interfaces move.
    """
    w.source[:] = 0.0
    if m.dfn:
        _set_source(m, m.negative, w.negative, w, cell.ne_surface, evenly)
        _set_source(m, m.positive, w.positive, w, cell.pe_surface, evenly)
    if dt > 0.0:
        for k in (m.separator, m.separator_end):
            moved = w.link[k - 1] * (w.bend[k] - w.bend[k - 1]) / (STAGE * dt)
            w.source[k - 1] -= moved
            w.source[k] += moved


@_inlined
def _solve_salt(m, s, w, dt):
    """Take both stages of the step of the salt: salt[0] of the sources, salt[1] of i = 1 A/m2."""
    nodes = m.width.size
    again = (1.0 - STAGE) / STAGE
    for stage in range(2):
        carried_0, carried_1 = 0.0, 0.0
        for k in range(nodes):
            before_0, before_1 = s.salt[k], 0.0
            if stage == 1:
                before_0 += again * (w.salt[0, k] - before_0)
                before_1 = again * w.salt[1, k]
            side_0 = m.volume[k] * before_0 + STAGE * dt * w.source[k] + carried_0
            side_1 = m.volume[k] * before_1 + STAGE * dt * m.unit[k] + carried_1
            w.salt[0, k] = side_0
            w.salt[1, k] = side_1
            factor = w.pivot[k] * w.link[k]
            carried_0 = side_0 * factor
            carried_1 = side_1 * factor
        value_0, value_1 = 0.0, 0.0
        for k in range(nodes - 1, -1, -1):
            value_0 = (w.salt[0, k] + w.link[k] * value_0) * w.pivot[k]
            value_1 = (w.salt[1, k] + w.link[k] * value_1) * w.pivot[k]
            w.salt[0, k] = value_0
            w.salt[1, k] = value_1


@_inlined
def _salt_at(w, k, i):
    """Return c_e of a node [mol/m3], no less than a trace, and its change with i."""
    return max(w.salt[0, k] + w.salt[1, k] * i, 1000.0 * FLOOR), w.salt[1, k]


@_inlined
def _spread(e, w, k, i, edge):
    """Return the variance of c_e within a node over its square: (h c')2 / 12 c2.

    The mean over a node of f(c) is f(mean c) + f''(mean c) / 2 times the variance; where salt runs
    short, that is as much as all else that a finite volume misses. `edge` is c_e at the separator.
    """
    n = e.first + e.step * k
    here = w.salt[0, n] + w.salt[1, n] * i
    behind = here
    if k > 0:
        behind = w.salt[0, n - e.step] + w.salt[1, n - e.step] * i
    if k + 1 < e.width.size:
        ahead = w.salt[0, n + e.step] + w.salt[1, n + e.step] * i
    else:
        ahead = 2.0 * edge - here
    relative = 0.5 * (ahead - behind) / max(here, 1000.0 * FLOOR)
    return min(relative * relative, 1.0) / 12.0


@_inlined
def _edge(m, w, k, i):
    """Return ln c_e between nodes k and k + 1 (the flux is continuous there), and d/di."""
    left = m.transport[k] / m.width[k]
    right = m.transport[k + 1] / m.width[k + 1]
    c_left, by_left = _salt_at(w, k, i)
    c_right, by_right = _salt_at(w, k + 1, i)
    c = left * (c_left - w.bend[k]) + right * (c_right - w.bend[k + 1])
    c = max(c, (left + right) * 1000.0 * FLOOR)
    return log(c / (left + right)), (left * by_left + right * by_right) / c


# -- SPMe ---------------------------------------------------------------------------------------


@_inlined
def _spme_electrode(e, ew, w, surface_area, film, i, edge, thermal, excess):
    """Return the mean phi_s - phi_e of an electrode and of ln c_e, each with its d/di.

    j is uniform; only the salt, and with it the overpotential, differs along the electrode.
    """
    by_i = e.sign / (surface_area * e.thickness)
    j = by_i * i
    surface = ew.base[0] + ew.gain * j
    ocp, ocp_slope = _equilibrium(e, surface, excess)
    eta, eta_by_i, logs, logs_by_i = 0.0, 0.0, 0.0, 0.0
    for k in range(e.width.size):
        share = e.width[k] / e.thickness
        c, c_by_i = _salt_at(w, e.first + e.step * k, i)
        half_variance = 0.5 * _spread(e, w, k, i, edge)
        value, by_j, by_surface, by_log = _kinetics(e, ew.rate, c / 1000.0, surface, j, thermal)
        eta += share * (value - half_variance * by_log)
        eta_by_i += share * ((by_j + by_surface * ew.gain) * by_i + by_log * c_by_i / c)
        logs += share * (log(c) - half_variance)
        logs_by_i += share * c_by_i / c
    ew.flux[0] = j
    ew.ocp[0] = ocp
    difference = ocp + eta + film * j
    return difference, (ocp_slope * ew.gain + film) * by_i + eta_by_i, logs, logs_by_i


@_compiled
def _spme(m, cell, s, w, i):
    """Linearise the voltage and the plating potential of a cell around i [A/m2] (SPMe).

    V = mean(U + eta)_p - mean(U + eta)_n + chi RT/F (mean ln c_p - mean ln c_n)
        + i [L_n/3 kappa_n + L_s/kappa_s + L_p/3 kappa_p + L_n/3 sigma_n + L_p/3 sigma_p]

    with kappa and chi at the mean concentration.
    """
    neg, pos = m.negative, m.positive
    excess = s.temperature - m.reference_temperature
    thermal = 2.0 * GAS * s.temperature / FARADAY
    film = cell.film_resistance
    edge, edge_i = _edge(m, w, m.separator - 1, i)
    edge_p, _ = _edge(m, w, m.separator_end - 1, i)
    delta_n, delta_n_i, log_n, log_n_i = _spme_electrode(
        neg, w.negative, w, cell.ne_surface, film, i, exp(edge), thermal, excess
    )
    delta_p, delta_p_i, log_p, log_p_i = _spme_electrode(
        pos, w.positive, w, cell.pe_surface, 0.0, i, exp(edge_p), thermal, excess
    )
    table, share = _row(m, s.temperature)
    column = m.property_salt / m.salt_step
    kappa = _bilinear(m.conductivity, table, share, column)
    chi = 0.5 * thermal * _bilinear(m.thermodynamic, table, share, column)
    separator = 0.0
    for k in range(m.separator, m.separator_end):
        separator += m.width[k] / (kappa * m.transport[k])
    salt_n = neg.thickness / (3.0 * kappa * m.transport[neg.first])
    salt_p = pos.thickness / (3.0 * kappa * m.transport[pos.first])
    solid_n = neg.thickness / (3.0 * neg.conductivity)
    solid_p = pos.thickness / (3.0 * pos.conductivity)
    ohmic = salt_n + separator + salt_p + solid_n + solid_p
    w.voltage = delta_p - delta_n + i * ohmic + chi * (log_p - log_n)
    w.slope = delta_p_i - delta_n_i + ohmic + chi * (log_p_i - log_n_i)
    near = 0.5 * solid_n - salt_n
    film *= neg.sign / (cell.ne_surface * neg.thickness)
    w.plating = delta_n + i * (near - film) + chi * (log_n - edge)
    w.plating_slope = delta_n_i + near - film + chi * (log_n_i - edge_i)
    w.residual = 0.0


# -- DFN ----------------------------------------------------------------------------------------


@_inlined
def _start_dfn(e, p, ew, surface_area, i_last, i):
    """Guess j: the last one, and what i has grown by since, spread evenly.

    Where i falls, what was uneven falls with it: from a j that is too large, on the flat part of
    asinh, Newton's method goes astray.
    """
    to_j = e.sign / (surface_area * e.thickness)
    kept = 1.0
    if i_last != 0.0:
        kept = min(max(i / i_last, 0.0), 1.0)
    ew.ionic[0] = 0.0
    for k in range(e.width.size):
        ew.flux[k] = to_j * i + kept * (p.flux[k] - to_j * i_last)
        ew.ionic[k + 1] = ew.ionic[k] + surface_area * e.width[k] * ew.flux[k]


@_inlined
def _dfn_nodes(m, e, ew, w, film, i, temperature):
    """Evaluate every node of an electrode at the j reached so far.

    Delta = phi_s - phi_e = U(surface) + eta(j) + film j, its derivatives to j and (through the
    salt) to i, the electrolyte's resistance over half the node, ln c_e and chi RT/F.
    """
    table, share = _row(m, temperature)
    thermal = 2.0 * GAS * temperature / FARADAY
    excess = temperature - m.reference_temperature
    for k in range(e.width.size):
        n = e.first + e.step * k
        j = ew.flux[k]
        surface = ew.base[k] + ew.gain * j
        ocp, ocp_slope = _equilibrium(e, surface, excess)
        c, c_by_i = _salt_at(w, n, i)
        eta, by_j, by_surface, by_log = _kinetics(e, ew.rate, c / 1000.0, surface, j, thermal)
        column = c / m.salt_step
        kappa = m.transport[n] * _bilinear(m.conductivity, table, share, column)
        ew.ocp[k] = ocp
        ew.difference[k] = ocp + eta + film * j
        ew.by_flux[k] = by_j + film + (ocp_slope + by_surface) * ew.gain
        ew.log_salt[k] = log(c)
        ew.log_by_current[k] = c_by_i / c
        ew.by_current[k] = by_log * ew.log_by_current[k]
        ew.resistance[k] = 0.5 * e.width[k] / kappa
        ew.chi[k] = 0.5 * thermal * _bilinear(m.thermodynamic, table, share, column)


@_inlined
def _dfn_faces(e, ew, surface_area, i):
    """Find Newton's correction of the ionic current g at the faces; return the residual [V].

    With g(0) = 0 and g(L) = J at the separator, charge is conserved exactly, and Ohm's laws of
    both phases must give the same Delta = phi_s - phi_e between nodes:

        d(Delta)/dxi = g / kappa - (J - g) / sigma - chi RT/F d(ln c_e)/dxi

    Delta_k depends on j_k = (g_k+1 - g_k) / (a h_k) alone, so that the Jacobian is tridiagonal,
    symmetric and definite. `correction` is that at fixed i, `slope` is dg/di.
    """
    nodes = e.width.size
    total = e.sign * i
    worst, pivot = 0.0, 0.0
    for f in range(1, nodes):
        left, right = f - 1, f
        solid = 0.5 * (e.width[left] + e.width[right]) / e.conductivity
        salt = ew.resistance[left] + ew.resistance[right]
        chi = 0.5 * (ew.chi[left] + ew.chi[right])
        stiff_left = ew.by_flux[left] / (surface_area * e.width[left])
        stiff_right = ew.by_flux[right] / (surface_area * e.width[right])
        residual = (
            ew.difference[right]
            - ew.difference[left]
            - ew.ionic[f] * salt
            + (total - ew.ionic[f]) * solid
            + chi * (ew.log_salt[right] - ew.log_salt[left])
        )
        by_i = (
            ew.by_current[right]
            - ew.by_current[left]
            + e.sign * solid
            + chi * (ew.log_by_current[right] - ew.log_by_current[left])
        )
        if right == nodes - 1:
            by_i += stiff_right * e.sign
        worst = max(worst, abs(residual))
        diagonal = stiff_left + stiff_right + salt + solid
        if f > 1:
            factor = stiff_left * pivot
            diagonal -= factor * stiff_left
            residual += factor * ew.correction[f - 1]
            by_i += factor * ew.slope[f - 1]
        pivot = 1.0 / diagonal
        ew.pivot[f] = pivot
        ew.correction[f] = residual
        ew.slope[f] = by_i
    ew.correction[0] = 0.0
    ew.slope[0] = 0.0
    correction, slope, stiff = 0.0, 0.0, 0.0
    for f in range(nodes - 1, 0, -1):
        correction = (ew.correction[f] + stiff * correction) * ew.pivot[f]
        slope = (ew.slope[f] + stiff * slope) * ew.pivot[f]
        ew.correction[f] = correction
        ew.slope[f] = slope
        stiff = ew.by_flux[f - 1] / (surface_area * e.width[f - 1])
    ew.correction[nodes] = total - ew.ionic[nodes]
    ew.slope[nodes] = e.sign
    return worst


@_inlined
def _dfn_potentials(e, ew, surface_area, film, edge, edge_by_i, i):
    """Sum up an electrode's potentials with its nodes eliminated; `edge` is ln c_e there.

    Returns, each with its d/di: phi_s at the collector less phi_e at the separator's edge, and
    the plating potential, phi_s - phi_e at the edge less the drop in the film.
    """
    last = e.width.size - 1
    total = e.sign * i
    node_area = surface_area * e.width[last]
    moved = (ew.correction[last + 1] - ew.correction[last]) / node_area
    moved_by_i = (e.sign - ew.slope[last]) / node_area
    # g rises linearly in a node: its mean over the half next to the separator.
    ionic = 0.25 * (ew.ionic[last] + ew.correction[last] + 3.0 * total)
    ionic_by_i = 0.25 * (ew.slope[last] + 3.0 * e.sign)
    potential = (
        ew.difference[last]
        + ew.by_flux[last] * moved
        + ew.resistance[last] * ionic
        - ew.chi[last] * (edge - ew.log_salt[last])
    )
    by_i = (
        ew.by_current[last]
        + ew.by_flux[last] * moved_by_i
        + ew.resistance[last] * ionic_by_i
        - ew.chi[last] * (edge_by_i - ew.log_by_current[last])
    )
    half = 0.5 * e.width[last] / e.conductivity
    plating = potential - half * (total - ionic) - film * (ew.flux[last] + moved)
    plating_by_i = by_i - half * (e.sign - ionic_by_i) - film * moved_by_i
    for f in range(1, last + 1):
        solid = 0.5 * (e.width[f - 1] + e.width[f]) / e.conductivity
        potential += solid * (total - ew.ionic[f] - ew.correction[f])
        by_i += solid * (e.sign - ew.slope[f])
    half = 0.5 * e.width[0] / e.conductivity
    potential += half * (total - 0.25 * (ew.ionic[1] + ew.correction[1]))
    by_i += half * (e.sign - 0.25 * ew.slope[1])
    return potential, by_i, plating, plating_by_i


@_compiled
def _dfn(m, cell, s, w, i):
    """Linearise the voltage and the plating potential of a cell around i [A/m2] (DFN).

    V = P_p - P_n + i sum(h / kappa) + chi RT/F (ln c_e at one edge of the separator less that at
    the other), with P of `_dfn_potentials`.
    """
    neg, pos = m.negative, m.positive
    temperature = s.temperature
    film = cell.film_resistance
    _dfn_nodes(m, neg, w.negative, w, film, i, temperature)
    _dfn_nodes(m, pos, w.positive, w, 0.0, i, temperature)
    worst_n = _dfn_faces(neg, w.negative, cell.ne_surface, i)
    worst_p = _dfn_faces(pos, w.positive, cell.pe_surface, i)
    edge_n, edge_n_i = _edge(m, w, m.separator - 1, i)
    edge_p, edge_p_i = _edge(m, w, m.separator_end - 1, i)
    p_n, p_n_i, plating, plating_i = _dfn_potentials(
        neg, w.negative, cell.ne_surface, film, edge_n, edge_n_i, i
    )
    p_p, p_p_i, _, _ = _dfn_potentials(pos, w.positive, cell.pe_surface, 0.0, edge_p, edge_p_i, i)
    table, share = _row(m, temperature)
    ohmic = 0.0
    chi = 0.0
    for k in range(m.separator, m.separator_end):
        column = _salt_at(w, k, i)[0] / m.salt_step
        ohmic += m.width[k] / (m.transport[k] * _bilinear(m.conductivity, table, share, column))
        chi += _bilinear(m.thermodynamic, table, share, column)
    chi *= GAS * temperature / FARADAY / (m.separator_end - m.separator)
    w.voltage = p_p - p_n + i * ohmic + chi * (edge_p - edge_n)
    w.slope = p_p_i - p_n_i + ohmic + chi * (edge_p_i - edge_n_i)
    w.plating = plating
    w.plating_slope = plating_i
    w.residual = max(worst_n, worst_p)


@_inlined
def _accept_faces(e, ew, surface_area, change, i, share):
    nodes = e.width.size
    for f in range(1, nodes):
        ew.ionic[f] += share * ew.correction[f] + ew.slope[f] * change
    ew.ionic[nodes] = e.sign * i
    for k in range(nodes):
        ew.flux[k] = (ew.ionic[k + 1] - ew.ionic[k]) / (surface_area * e.width[k])


# -- a cell -------------------------------------------------------------------------------------


@_compiled
def _prepare(m, cell, s, w, dt, current):
    """Do all of a cell's step that does not depend on its current; guess the rest from it."""
    neg, pos = m.negative, m.positive
    temperature = s.temperature
    _prepare_particles(
        m, neg, s.negative, w.negative, temperature, dt, cell.ne_diffusivity, cell.ne_rate
    )
    _prepare_particles(
        m, pos, s.positive, w.positive, temperature, dt, cell.pe_diffusivity, cell.pe_rate
    )
    i = current / cell.area
    if m.dfn:
        i_last = s.current / cell.area
        _start_dfn(neg, s.negative, w.negative, cell.ne_surface, i_last, i)
        _start_dfn(pos, s.positive, w.positive, cell.pe_surface, i_last, i)
    _prepare_salt(m, s, w, dt)
    _set_sources(m, w, cell, dt, i)
    _solve_salt(m, s, w, dt)
    w.current = current
    w.temperature = temperature


@_inlined
def _linearise(m, cell, s, w):
    """Set voltage and dV/dI of a cell at the current reached so far."""
    i = w.current / cell.area
    if m.dfn:
        _dfn(m, cell, s, w, i)
    else:
        _spme(m, cell, s, w, i)
    w.voltage += w.current * cell.contact_resistance
    w.slope = w.slope / cell.area + cell.contact_resistance
    w.plating_slope /= cell.area


@_inlined
def _accept(m, cell, w, current, share):
    """Move a cell along its linearisation to the current that the circuit gives it.

    `share` is how much of Newton's correction inside the cell is believed.
    """
    change = current - w.current
    w.current = current
    w.voltage += w.slope * change
    w.plating += w.plating_slope * change
    if m.dfn:
        i = current / cell.area
        change /= cell.area
        _accept_faces(m.negative, w.negative, cell.ne_surface, change, i, share)
        _accept_faces(m.positive, w.positive, cell.pe_surface, change, i, share)


@_inlined
def _reaction_heat(m, e, ew, surface_area, temperature):
    """Return sum(a h j U) and sum(a h j T dU/dT) of an electrode [W/m2]."""
    stored, reversible = 0.0, 0.0
    for k in range(ew.flux.size):
        width = e.width[k] if m.dfn else e.thickness
        passed = surface_area * width * ew.flux[k]
        stored += passed * ew.ocp[k]
        if e.has_entropic:
            surface = ew.base[k] + ew.gain * ew.flux[k]
            reversible += passed * temperature * _cubic(e.entropic, surface)[0]
    return stored, reversible


@_compiled
def _finish(m, cell, s, w, out, dt, exchanged, far):
    """Move a cell to the end of its step and write its outputs; return what went wrong or OK.

    In the DFN the salt is moved by the j that was found, not by the guess with which it was found;
    where the two are further apart than the share `far`, the step was too long.

    C dT/dt = Q - hA (T - T_ambient), solved exactly for constant Q; `exchanged` [W] of it comes
    from the neighbours, as warm as they were at the start, so that what one gives the other gets.
    """
    neg, pos = m.negative, m.positive
    current = w.current
    area = cell.area
    reason = OK
    if m.dfn:
        for k in range(m.width.size):
            w.guess[k] = _salt_at(w, k, current / area)[0]
        _set_sources(m, w, cell, dt, 0.0)
        _solve_salt(m, s, w, dt)
        for k in range(m.width.size):
            s.salt[k] = w.salt[0, k]
            if abs(s.salt[k] - w.guess[k]) > far * w.guess[k]:
                reason = NO_SOLUTION
    else:
        i = current / area
        w.negative.flux[0] = neg.sign * i / (cell.ne_surface * neg.thickness)
        w.positive.flux[0] = pos.sign * i / (cell.pe_surface * pos.thickness)
        for k in range(m.width.size):
            s.salt[k] = w.salt[0, k] + w.salt[1, k] * i
    for k in range(m.width.size):
        if not s.salt[k] > m.salt * DEPLETION:
            reason = DEPLETED
    temperature = w.temperature
    stored_n, reversible_n = _reaction_heat(m, neg, w.negative, cell.ne_surface, temperature)
    stored_p, reversible_p = _reaction_heat(m, pos, w.positive, cell.pe_surface, temperature)
    mixing_n, whole_n = _finish_particles(m, neg, s.negative, w.negative, cell.ne_surface, dt)
    mixing_p, whole_p = _finish_particles(m, pos, s.positive, w.positive, cell.pe_surface, dt)
    if not (whole_n and whole_p):
        reason = STOICHIOMETRY
    reversible = area * (reversible_n + reversible_p)
    heat = current * w.voltage - area * (stored_n + stored_p) + reversible
    heat += current * current * m.collector_resistance / area
    capacity = cell.heat_capacity
    if cell.cooling > 0.0:
        settled = cell.ambient + (heat + exchanged) / cell.cooling
        s.temperature = settled + (temperature - settled) * exp(-cell.cooling * dt / capacity)
    else:
        s.temperature = temperature + (heat + exchanged) * dt / capacity
    s.current = current
    mean = 0.0
    for k in range(s.negative.mean.size):
        mean += s.negative.mean[k] * (neg.width[k] / neg.thickness if m.dfn else 1.0)
    out.current = current
    out.voltage = w.voltage
    out.soc = (mean - cell.x_0) / cell.x_window
    out.temperature = s.temperature
    out.plating = w.plating
    out.heat = heat
    out.reversible = reversible
    out.mixing = area * (mixing_n + mixing_p)
    if not (m.cold <= s.temperature <= m.hot):
        reason = TEMPERATURE_RANGE
    if not (isfinite(w.voltage) and isfinite(s.temperature)):
        reason = NO_SOLUTION
    return reason


# -- the circuit --------------------------------------------------------------------------------


@_compiled
def _factorise(matrix):
    """Replace the lower band of a symmetric matrix by its L D L' (1/D on the diagonal)."""
    nodes, width = matrix.shape
    for k in range(nodes):
        inverse = 1.0 / matrix[k, 0]
        matrix[k, 0] = inverse
        reach = min(width, nodes - k)
        for r in range(1, reach):
            factor = matrix[k, r] * inverse
            for c in range(r, reach):
                matrix[k + r, c - r] -= factor * matrix[k, c]


@_compiled
def _substitute(matrix, side):
    nodes, width = matrix.shape
    for k in range(nodes):
        scaled = side[k] * matrix[k, 0]
        for r in range(1, min(width, nodes - k)):
            side[k + r] -= matrix[k, r] * scaled
    for k in range(nodes - 1, -1, -1):
        value = side[k]
        for r in range(1, min(width, nodes - k)):
            value -= matrix[k, r] * side[k + r]
        side[k] = value * matrix[k, 0]


@_compiled
def _solve_circuit(circuit, cells, work, first, mode, setpoint, matrix, fixed, unit):
    """Solve Kirchhoff's laws for linearised cells; return the pack's current and voltage.

    Nodal analysis: a cell is a voltage source in series with dV/dI and its connections. The nodes'
    potentials are `fixed` + `unit` times the pack's current, which the mode then sets; NaN where
    it cannot. Potentials and sources are counted from `datum` a series group, so that currents are
    differences of small numbers.
    """
    datum = work[0].voltage
    matrix[:, :] = circuit.conductance
    fixed[:] = 0.0
    unit[:] = 0.0
    unit[circuit.terminal] = 1.0
    for c in range(circuit.plus.size):
        if cells[first + c].connected:
            w = work[c]
            conductance = 1.0 / (w.slope + circuit.series_resistance[c])
            source = (w.voltage - datum - w.slope * w.current) * conductance
            plus, minus = circuit.plus[c], circuit.minus[c]
            if plus >= 0:
                matrix[plus, 0] += conductance
                fixed[plus] += source
            if minus >= 0:
                matrix[minus, 0] += conductance
                fixed[minus] -= source
            if plus >= 0 and minus >= 0:
                matrix[min(plus, minus), abs(plus - minus)] -= conductance
    _factorise(matrix)
    _substitute(matrix, fixed)
    _substitute(matrix, unit)
    open_circuit = fixed[circuit.terminal] + datum * circuit.series
    resistance = unit[circuit.terminal] + circuit.terminal_resistance
    current = setpoint
    if mode == VOLTAGE:
        current = (setpoint - open_circuit) / resistance
    elif mode == POWER:
        # P = V I = (open_circuit + resistance I) I: the root that vanishes with P
        root = open_circuit * open_circuit + 4.0 * resistance * setpoint
        current = 2.0 * setpoint / (open_circuit + sqrt(root)) if root >= 0.0 else nan
    elif mode == CELL_VOLTAGE:
        current = nan
        for c in range(circuit.plus.size):
            if cells[first + c].connected:
                w = work[c]
                at_zero, per_current = _branch(circuit, w, c, datum, fixed, unit)
                if per_current > 0.0:
                    voltage = w.voltage + w.slope * (at_zero - w.current)
                    held = (setpoint - voltage) / (w.slope * per_current)
                    current = held if isnan(current) else min(current, held)
    return current, open_circuit + resistance * current


@_inlined
def _branch(circuit, w, c, datum, fixed, unit):
    """Return the current of a cell at no pack current, and per ampere of it."""
    plus, minus = circuit.plus[c], circuit.minus[c]
    across, per_current = 0.0, 0.0
    if plus >= 0:
        across += fixed[plus]
        per_current += unit[plus]
    if minus >= 0:
        across -= fixed[minus]
        per_current -= unit[minus]
    conductance = 1.0 / (w.slope + circuit.series_resistance[c])
    driven = across - (w.voltage - datum) + w.slope * w.current
    return driven * conductance, per_current * conductance


# -- a pack -------------------------------------------------------------------------------------


@_inlined
def _has_end(ew):
    """Return whether a particle's surface is beyond empty or full."""
    ended = False
    for k in range(ew.flux.size):
        ended = ended or not 0.0 < ew.base[k] + ew.gain * ew.flux[k] < 1.0
    return ended


@_compiled
def _why_unsolved(m, cells, work, first, size):
    reason = NO_SOLUTION
    for c in range(size):
        w = work[c]
        i = w.current / cells[first + c].area
        if _has_end(w.negative) or _has_end(w.positive):
            reason = STOICHIOMETRY
        for k in range(m.width.size):
            if _salt_at(w, k, i)[0] <= m.salt * DEPLETION:
                return DEPLETED
    return reason


@_compiled
def _whole_step(
    m, circuit, cells, states, outputs, pack_out, work, matrix, sides, pack, mode, setpoint, dt,
    far,
):  # fmt: skip
    """Take one pack through a step; return OK or what went wrong (the state is then spoilt).

    Newton's method on all cells and the circuit at once: each cell is linearised with its inner
    unknowns eliminated, the circuit gives the currents, the cells take them back.
    """
    size = circuit.plus.size
    first = pack * size
    if circuit.coupling > 0.0:
        for c in range(size):
            if 4.0 * circuit.coupling * dt > cells[first + c].heat_capacity:
                return NO_SOLUTION  # too long for what neighbours exchange in it
    change = 0.0
    if mode == CURRENT:
        passed = 0.0
        for c in range(size):
            passed += states[first + c].current
        change = setpoint - passed / (size * circuit.share)
    for c in range(size):
        guess = 0.0
        if cells[first + c].connected:
            guess = states[first + c].current + change * circuit.share
        _prepare(m, cells[first + c], states[first + c], work[c], dt, guess)
    fixed, unit = sides[0], sides[1]
    solved = False
    current, voltage = 0.0, 0.0
    for iteration in range(ITERATIONS):
        share = 0.5 if DAMPED_FROM <= iteration < DAMPED_TO else 1.0
        for c in range(size):
            _linearise(m, cells[first + c], states[first + c], work[c])
        current, voltage = _solve_circuit(
            circuit, cells, work, first, mode, setpoint, matrix, fixed, unit
        )
        worst = 0.0
        datum = work[0].voltage
        for c in range(size):
            w = work[c]
            branch = 0.0
            if cells[first + c].connected:
                at_zero, per_current = _branch(circuit, w, c, datum, fixed, unit)
                branch = w.current + share * (at_zero + per_current * current - w.current)
            worst = max(worst, abs(w.slope * (branch - w.current)), w.residual)
            _accept(m, cells[first + c], w, branch, share)
        if not isfinite(current) or not isfinite(worst):
            break
        if worst < TOLERANCE and share == 1.0:
            solved = True
            break
    if not solved:
        return _why_unsolved(m, cells, work, first, size) if isfinite(current) else NO_SOLUTION
    reason = OK
    for c in range(size):
        row = first + c
        exchanged = 0.0
        if circuit.coupling > 0.0:
            for n in range(circuit.neighbours.shape[1]):
                other = circuit.neighbours[c, n]
                if other >= 0:
                    warmer = work[other].temperature - work[c].temperature
                    exchanged += circuit.coupling * warmer
        found = _finish(m, cells[row], states[row], work[c], outputs[row], dt, exchanged, far)
        reason = max(reason, found)
    pack_out[pack, 0] = current
    pack_out[pack, 1] = voltage
    return reason


@_compiled
def _step(
    m, circuit, cells, states, outputs, pack_out, work, matrix, sides, pack, mode, setpoint, dt,
    rows, kept, said,
):  # fmt: skip
    """Take one pack through a step, in as many equal parts as it needs, or leave it as it was.

    It is cut where salt runs short: where a whole step has no solution, or where the salt found and
    that guessed are FAR apart. Currents and heats are then means over the parts. A pack that has no
    solution in parts of SHORTEST either keeps its state and its outputs.
    """
    size = circuit.plus.size
    first = pack * size
    kept[:, :] = rows[first : first + size]
    for c in range(size):
        said[c] = outputs[first + c]
    current, voltage = pack_out[pack, 0], pack_out[pack, 1]
    parts = 1
    while True:
        shortest = dt <= SHORTEST * parts
        far = inf if shortest else FAR
        reason = OK
        passed = 0.0
        for c in range(size):
            work[c].sums[:] = 0.0
        for _ in range(parts):
            reason = _whole_step(
                m, circuit, cells, states, outputs, pack_out, work, matrix, sides, pack, mode,
                setpoint, dt / parts, far,
            )  # fmt: skip
            if reason != OK:
                break
            passed += pack_out[pack, 0]
            for c in range(size):
                _add(work[c].sums, outputs[first + c])
        if reason == OK:
            pack_out[pack, 0] = passed / parts
            for c in range(size):
                _set_means(outputs[first + c], work[c].sums, parts)
            return OK
        rows[first : first + size] = kept
        if shortest:
            for c in range(size):
                outputs[first + c] = said[c]
            pack_out[pack, 0], pack_out[pack, 1] = current, voltage
            return reason
        parts *= 2


@_inlined
def _add(sums, out):
    sums[0] += out.current
    sums[1] += out.heat
    sums[2] += out.reversible
    sums[3] += out.mixing


@_inlined
def _set_means(out, sums, parts):
    out.current = sums[0] / parts
    out.heat = sums[1] / parts
    out.reversible = sums[2] / parts
    out.mixing = sums[3] / parts


@_inlined
def _worse(excess, which, worst, reason):
    return (excess, which) if excess > worst else (worst, reason)


@_compiled
def _violation(cells, outputs, pack_out, pack, size, limits):
    """Return by how much the most exceeded limit is exceeded (in its unit), and which it is.

    `limits` has one entry a reason; NaN is no limit, and compares false.
    """
    worst, reason = -inf, OK
    stored, capacity = 0.0, 0.0
    for row in range(pack * size, pack * size + size):
        out = outputs[row]
        excess = out.temperature - limits[TEMPERATURE_MAX]
        worst, reason = _worse(excess, TEMPERATURE_MAX, worst, reason)
        if cells[row].connected:
            excess = out.voltage - limits[CELL_VOLTAGE_MAX]
            worst, reason = _worse(excess, CELL_VOLTAGE_MAX, worst, reason)
            excess = limits[CELL_VOLTAGE_MIN] - out.voltage
            worst, reason = _worse(excess, CELL_VOLTAGE_MIN, worst, reason)
            excess = limits[PLATING_MIN] - out.plating
            worst, reason = _worse(excess, PLATING_MIN, worst, reason)
            stored += out.soc * cells[row].capacity
            capacity += cells[row].capacity
    current, voltage = pack_out[pack, 0], pack_out[pack, 1]
    soc = stored / capacity
    worst, reason = _worse(soc - limits[SOC_MAX], SOC_MAX, worst, reason)
    worst, reason = _worse(limits[SOC_MIN] - soc, SOC_MIN, worst, reason)
    worst, reason = _worse(voltage - limits[PACK_VOLTAGE_MAX], PACK_VOLTAGE_MAX, worst, reason)
    worst, reason = _worse(limits[PACK_VOLTAGE_MIN] - voltage, PACK_VOLTAGE_MIN, worst, reason)
    return _worse(limits[CURRENT_MIN] - abs(current), CURRENT_MIN, worst, reason)


@_compiled
def _advance(
    m, circuit, cells, states, outputs, pack_out, work, matrix, sides, pack, mode, setpoint, dt,
    rows, kept, said, start, limits,
):  # fmt: skip
    """Step, or stop within EVENT_TIME after the first limit crossed; return time and reason.

    Limits are looked at where the step begins and where it ends. The crossing is bracketed by
    halving, because the way to it may lead through times that have no solution. Where that is what
    stops the pack, it stops within EVENT_TIME before.
    """
    size = circuit.plus.size
    first = pack * size
    start[:, :] = rows[first : first + size]
    low, high, trial = 0.0, dt, 0.0
    reason = OK
    while True:
        failure = _step(
            m, circuit, cells, states, outputs, pack_out, work, matrix, sides, pack, mode,
            setpoint, trial, rows, kept, said,
        )  # fmt: skip
        excess, crossed = _violation(cells, outputs, pack_out, pack, size, limits)
        if failure != OK:
            high, reason = trial, failure
        elif excess >= 0.0:
            high, reason = trial, crossed
        else:
            low = trial
        narrow = high - low <= EVENT_TIME
        at_crossing = reason < DEPLETED
        if trial == dt and reason == OK:
            return trial, reason
        if reason != OK and (trial == 0.0 or (narrow and trial == (high if at_crossing else low))):
            return (trial if failure == OK else 0.0), reason
        if trial == 0.0 and reason == OK:
            trial = dt
        elif narrow:
            trial = high if at_crossing else low
        else:
            trial = 0.5 * (low + high)
        rows[first : first + size] = start


@_inlined
def _is_step(mode, setpoint, dt):
    return CURRENT <= mode <= CELL_VOLTAGE and isfinite(setpoint) and 0.0 <= dt < inf


@_inlined
def _are_steps(mode, setpoint, dt, reason):
    """Mark what is no step; return whether there is none such."""
    all_good = True
    for pack in range(mode.size):
        if not isnan(dt[pack]) and not _is_step(mode[pack], setpoint[pack], dt[pack]):
            reason[pack] = NO_STEP
            all_good = False
    return all_good


@_called_from_python
def step_packs(
    models, circuit, cells, states, outputs, pack_out, work, matrix, sides, rows, kept, said, start,
    first, stride, mode, setpoint, dt, reason,
):  # fmt: skip
    """Take packs `first`, `first + stride`, ... through a step, each with its own set-point.

    Parameters
    ----------
    models, circuit, cells, states, outputs
        A record (1,), the circuit, and records (packs * size,); see `Layout`. `states` and
        `outputs` are changed in place.
    pack_out
        (packs, 2): current [A] and voltage [V] of each pack; changed.
    rows
        `states` as numbers, (packs * size, columns).
    work, matrix, sides, kept, said, start
        Scratch of one thread: (size,) records, (nodes, bandwidth + 1), (2, nodes), (size, columns),
        (size,) records of outputs, (size, columns).
    mode, setpoint, dt
        (packs,); a pack whose dt is NaN is left as it is. Where one is no step, none is taken.
    reason
        (packs,), written. A pack that cannot take the step is left as it was.
    """
    if not _are_steps(mode, setpoint, dt, reason):
        return
    for pack in range(first, mode.size, stride):
        if not isnan(dt[pack]):
            reason[pack] = _step(
                models[0], circuit, cells, states, outputs, pack_out, work, matrix, sides, pack,
                mode[pack], setpoint[pack], dt[pack], rows, kept, said,
            )  # fmt: skip


@_called_from_python
def advance_packs(
    models, circuit, cells, states, outputs, pack_out, work, matrix, sides, rows, kept, said, start,
    first, stride, mode, setpoint, dt, reason, limits, elapsed,
):  # fmt: skip
    """As `step_packs`, but stop each pack at the first of its limits.

    `limits` is (packs, reasons), NaN for none; `elapsed` [s] (packs,) is written.
    """
    if not _are_steps(mode, setpoint, dt, reason):
        return
    for pack in range(first, mode.size, stride):
        if not isnan(dt[pack]):
            elapsed[pack], reason[pack] = _advance(
                models[0], circuit, cells, states, outputs, pack_out, work, matrix, sides, pack,
                mode[pack], setpoint[pack], dt[pack], rows, kept, said, start, limits[pack],
            )  # fmt: skip
