"""The parameters of every feature set, with their units; they decide the name of the node.

Nothing heavy is imported here: a run that finds everything in the cache needs the options only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SEI_ACTIVATION_ENERGY = 38_000.0
"""[J mol-1] of SEI growth on the LG M50's negative electrode; O'Kane et al., Phys. Chem. Chem.
Phys. 24 (2022) 7909, doi:10.1039/D2CP00417H (`SEI growth activation energy` of PyBaMM's OKane2022).
"""

CHECK_UP_TEMPERATURE = 25.0
"""[degC] at which the record's check-ups are done; Kirkaldy et al., J. Power Sources 603 (2024)."""


_Volts = Annotated[float, Field(ge=0, le=10)]


class SummaryOptions(BaseModel):
    """Parameters of the summary features.

    Attributes
    ----------
    activation_energy
        Activation energy of the Arrhenius terms [J mol-1].
    reference_temperature
        Temperature at which the Arrhenius factor is one [degC].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    activation_energy: float = Field(default=SEI_ACTIVATION_ENERGY, ge=0, le=1e6)
    reference_temperature: float = Field(default=CHECK_UP_TEMPERATURE, ge=-100, le=200)


class SequenceOptions(BaseModel):
    """Parameters of the sequences.

    Attributes
    ----------
    clock
        What the cell's own time grid counts: `days` of degradation [d], or charge `throughput`
        [Ah].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    clock: Literal["days", "throughput"] = "days"


class IcaOptions(BaseModel):
    """Parameters of incremental capacity analysis (dQ/dV).

    Attributes
    ----------
    window
        Voltage window, lowest and highest [V]. The default is the LG M50's full range, silicon
        region (2.5-3.2 V) included.
    grid_step
        Step of the uniform voltage grid [V].
    kernel_width
        Standard deviation of the smoothing kernel, as a share of the curve's charge [1]; None
        chooses what suits the noise and the shape of each piece of the curve (0.003 to 0.03).
    prominence
        Smallest prominence of a peak, as a share of its height [1].
    significance
        Smallest prominence of a peak in standard deviations of the noise of dQ/dV there [1].
    peaks
        How many tracked peaks to keep, the most prominent ones.
    track_tolerance
        Farthest that a peak may move between two check-ups of a cell and keep its name [V].
    charge_steps
        How many equal steps of its charge a curve is smoothed in and dV/dQ is given for [1].
    ir_correct
        Add the ohmic drop to the voltage, from the resistance in the store.
    ir_factor
        Resistance at the curve's current over the stored resistance after 0.1 s [1]; used where
        the store has no pulses to tell it. Between the C/10 and C/2 discharges of fresh LG M50
        cells it is 1.9; 1 takes out the ohmic part alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: tuple[_Volts, _Volts] = (2.5, 4.2)
    grid_step: float = Field(default=0.001, ge=1e-5, le=0.1)
    kernel_width: float | None = Field(default=None, ge=0.001, le=0.2)
    prominence: float = Field(default=0.02, ge=0, lt=1)
    significance: float = Field(default=6.0, ge=0, allow_inf_nan=False)
    peaks: int = Field(default=11, ge=1, le=16)
    track_tolerance: float = Field(default=0.04, ge=0.005, le=1)
    charge_steps: int = Field(default=500, ge=100, le=5_000)
    ir_correct: bool = False
    ir_factor: float = Field(default=2.0, ge=0, le=10)

    @model_validator(mode="after")
    def _window_holds_a_grid(self) -> IcaOptions:
        low, high = self.window
        if not low + 10 * self.grid_step <= high:
            raise ValueError("window must rise, by ten grid steps or more")
        if self.kernel_width is not None and self.kernel_width * self.charge_steps < 1:
            raise ValueError("kernel_width must be 1 / charge_steps or more")
        return self


class DmaOptions(BaseModel):
    """Parameters of degradation mode analysis.

    Attributes
    ----------
    direction
        Which curves are fitted.
    starts
        How many starting points every fit has, besides the fit of the check-up before [1].
    seed
        Of the starting points.
    positive, negative, silicon
        CSV files of half-cell potentials; None for the LG M50's (Chen2020 of PyBaMM). `negative`
        alone is an electrode of one phase; with `silicon` it is the graphite of a composite.
    points
        How many samples of each fitted curve are kept [1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    direction: Literal["discharge", "charge"] = "discharge"
    starts: int = Field(default=12, ge=2, le=1000)
    seed: int = Field(default=0, ge=0)
    positive: Path | None = None
    negative: Path | None = None
    silicon: Path | None = None
    points: int = Field(default=200, ge=20, le=10_000)

    @model_validator(mode="after")
    def _half_cells_come_together(self) -> DmaOptions:
        if (self.positive is None) != (self.negative is None):
            raise ValueError("positive and negative half-cell files are given together")
        if self.silicon is not None and self.negative is None:
            raise ValueError("silicon needs a negative (graphite) half-cell file beside it")
        return self
