"""Latent neural ODE: a hidden state per cell, driven by its use along its own time grid.

With the check-up number tau as the common clock and piecewise-constant use u_i in ageing set i,

    dz/dtau = dt_i * f(z, u_i),      z(0) = E c,      y(tau) = course(tau) + s * d . z(tau)

dt_i is the cell's own step in the square root of its days (diffusion-limited SEI growth is linear
in it), f a small network, c how far the cell's given check-ups lie from the mean course (0 in
`estimate`). u_i holds the inputs of one law of temperature (`tasks.LAWS`), throughput and the
experiment; ICA peaks are left out, as 16 more inputs made it worse on the twin. Every cell keeps
its own grid while all are solved in one batch with fixed steps: a cell's prediction does not depend
on its company, and check-up i sees u_1 ... u_i alone.

Source: R. T. Q. Chen et al., Neural Ordinary Differential Equations, NeurIPS 2018; solver
torchdiffeq (fourth-order Runge-Kutta).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torchdiffeq import odeint

from batterykit.errors import StoreError
from batterykit.learning.design import Cleaner, Course, averages_by_experiment, departures
from batterykit.learning.losses import masked_huber
from batterykit.learning.models.base import Listen, Model
from batterykit.learning.splits import Fold
from batterykit.learning.tasks import LAWS, Sequences
from batterykit.learning.trainer import (
    TrainOptions,
    choose_device,
    deterministic,
    member_noise,
    train_members,
)

WEIGHTS_FILE = "weights.safetensors"
LATENT = 4
HIDDEN = 16
FINAL_MEMBERS = 4
"""Networks that are kept and averaged; they differ in their first weights only."""


class Dynamics(torch.nn.Module):
    """The stacked networks: parameters (member, ...), float64.

    Parameters
    ----------
    members, inputs, contexts
        Numbers of networks, of driving inputs, of numbers that say where a cell starts.
    seed
        Of the first weights.
    """

    def __init__(self, members: int, inputs: int, contexts: int, seed: int) -> None:
        super().__init__()
        fan = LATENT + inputs

        def noise(offset: int, *shape: int, size: float) -> torch.nn.Parameter:
            return torch.nn.Parameter(size * member_noise(seed + offset, members, *shape))

        self.inner = noise(0, fan, HIDDEN, size=fan**-0.5)
        self.inner_bias = noise(1, 1, HIDDEN, size=0.5)
        self.outer = noise(2, HIDDEN, LATENT, size=0.1 * HIDDEN**-0.5)
        self.outer_bias = noise(3, 1, LATENT, size=0.0)
        self.start = noise(4, contexts, LATENT, size=0.5)
        self.decoder = noise(5, LATENT, 1, size=LATENT**-0.5)

    def forward(self, use: torch.Tensor, step: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Return the departure from the course in its own unit, (member, cell, rpt).

        Parameters
        ----------
        use
            (rpt - 1, member, cell, input) use in each ageing set.
        step
            (rpt - 1, member, cell, 1) duration of each set on the cell's own clock; 0 where padded.
        context
            (member, cell, context).
        """

        def slope(tau: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
            number = int(tau)
            hidden = torch.cat([state, use[number]], dim=-1) @ self.inner + self.inner_bias
            return step[number] * (torch.tanh(hidden) @ self.outer + self.outer_bias)

        grid = torch.arange(len(use) + 1, dtype=use.dtype, device=use.device)
        # `perturb` evaluates a set's last stage just before its end, inside its own use.
        states = odeint(
            slope,
            context @ self.start,
            grid,
            method="rk4",
            options={"step_size": 1.0, "perturb": True},
        )
        departure: torch.Tensor = (states @ self.decoder)[..., 0].permute(1, 2, 0)
        return departure


class LatentOde(Model):
    """The networks of one fold; law of temperature, epochs and trust are chosen on the inner folds.

    Trust (0 to 1) is by how much the networks' departure from the mean course is believed: the
    least-squares factor on inner validation cells.
    """

    name = "ode"
    slow = True
    options = TrainOptions()

    def __init__(self, seed: int = 0, device: str = "auto") -> None:
        super().__init__(seed, device)
        self.dynamics: Dynamics | None = None

    def _fit(self, train: Sequences, valid: Sequence[Fold], listen: Listen) -> None:
        by_experiment = averages_by_experiment(train, valid)
        least = np.inf
        history: list[dict[str, Any]] = []
        for law, inputs in LAWS.items():
            names = [*inputs, "sqrt_throughput"]
            names += [name for name in train.names if name.startswith("experiment_")]
            trained = self._train(train, valid, names, by_experiment, listen)
            history += [{"law": law, **entry} for entry in trained.history]
            if trained.error < least:
                least, best, chosen = trained.error, trained, law
        self.history = history
        self.dynamics = best.dynamics
        self.state |= {
            "lens": asdict(best.lens),
            "trust": best.trust,
            "choices": {
                "law": chosen,
                "epochs": best.epochs,
                "trust": best.trust,
                "by_experiment": by_experiment,
                "inner_mae": best.error,
            },
        }

    def _train(
        self,
        train: Sequences,
        valid: Sequence[Fold],
        names: Sequence[str],
        by_experiment: bool,
        listen: Listen,
    ) -> Trained:
        everyone = np.arange(len(train.cells))
        members = [fold.train for fold in valid] + [everyone] * FINAL_MEMBERS
        whole = Lens.fit(train, names, by_experiment=by_experiment)
        lenses = [
            Lens.fit(train.take(cells), names, by_experiment=by_experiment, like=whole.cleaner)
            for cells in members
        ]
        device = choose_device(self.device)
        fitted = np.zeros((len(members), *train.mask.shape), dtype=bool)
        held_out = np.zeros_like(fitted)
        for number, cells in enumerate(members):
            fitted[number, cells] = train.scored[cells]
        for number, fold in enumerate(valid):
            held_out[number, fold.test] = train.scored[fold.test]
        views = [lens.view(train) for lens in lenses]
        answers = np.stack([train.y - view.course for view in views])
        scale = np.array([lens.scale for lens in lenses])[:, None, None]

        with deterministic():
            inputs = _stack(views, device)
            fit_mask = torch.from_numpy(fitted).to(device)
            wanted = torch.from_numpy(np.where(fitted, answers / scale, 0.0)).to(device)
            dynamics = Dynamics(
                len(members), inputs[0].shape[-1], inputs[2].shape[-1], self.seed * 1000
            ).to(device)

            def departure() -> np.ndarray:
                with torch.no_grad():
                    return np.asarray(dynamics(*inputs).cpu().numpy() * scale)

            def score() -> float:
                return float(np.abs(departure() - answers)[held_out].mean())

            epochs, history = train_members(
                list(dynamics.parameters()),
                lambda: masked_huber(dynamics(*inputs) - wanted, fit_mask),
                score,
                self.options,
                listen,
            )
            found, true = departure()[held_out], answers[held_out]
        square = float(np.sum(found**2))
        trust = float(np.clip(np.sum(found * true) / square, 0, 1)) if square > 0 else 0.0
        kept = {n: value[len(valid) :].cpu() for n, value in dynamics.state_dict().items()}
        error = float(np.abs(trust * found - true).mean())
        return Trained(_networks(kept), whole, epochs, trust, error, history)

    def _predict(self, data: Sequences) -> np.ndarray:
        assert self.dynamics is not None
        lens = Lens.from_dict(self.state["lens"])
        view = lens.view(data)
        device = choose_device(self.device)
        with deterministic(), torch.no_grad():
            inputs = _stack([view] * FINAL_MEMBERS, device)
            departure = self.dynamics.to(device)(*inputs).mean(dim=0).cpu().numpy()
        return np.asarray(view.course + self.state["trust"] * lens.scale * departure)

    def save(self, folder: Path) -> None:
        """Write scalers and choices as JSON, weights as safetensors."""
        super().save(folder)
        assert self.dynamics is not None
        tensors = {n: v.cpu().contiguous() for n, v in self.dynamics.state_dict().items()}
        save_file(tensors, folder / WEIGHTS_FILE)

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> Self:
        """Read what `save` wrote; see `Model.load`."""
        model = super().load(folder, device)
        try:
            model.dynamics = _networks(load_file(folder / WEIGHTS_FILE))
        except (OSError, SafetensorError) as error:
            raise StoreError(
                f"the saved weights cannot be read ({error})",
                fix="train again",
                file=folder / WEIGHTS_FILE,
            ) from error
        return model


@dataclass(frozen=True)
class View:
    """What one member sees of some cells.

    Attributes
    ----------
    course
        (cell, rpt) the mean course [1].
    use, step, context
        See `Dynamics.forward`, but (cell, rpt - 1, ...).
    """

    course: np.ndarray
    use: np.ndarray
    step: np.ndarray
    context: np.ndarray


@dataclass(frozen=True)
class Lens:
    """What one member knows of its training cells.

    Attributes
    ----------
    course, cleaner
        Mean course; scaling of the inputs.
    clock
        Square root of the longest training time [d^0.5], the unit of the step.
    scale
        Standard deviation of the departures from the course [1], their unit.
    """

    course: Course
    cleaner: Cleaner
    clock: float
    scale: float

    @classmethod
    def fit(
        cls,
        train: Sequences,
        names: Sequence[str],
        *,
        by_experiment: bool,
        like: Cleaner | None = None,
    ) -> Lens:
        """Fit on the member's own training cells."""
        course = Course.fit(train, by_experiment=by_experiment)
        spread = float((train.y - course.at(train))[train.scored].std())
        return cls(
            course,
            Cleaner.fit(train, names, like),
            clock=float(np.sqrt(np.nanmax(train.time))),
            scale=spread or 1.0,
        )

    def view(self, data: Sequences) -> View:
        """Return what the member sees of these cells."""
        course = self.course.at(data)
        durations = np.diff(np.sqrt(data.time), axis=1) / self.clock
        step = np.where(data.mask[:, 1:], durations, 0.0)
        use = np.where(data.mask[:, 1:, None], self.cleaner.clean(data)[:, 1:], 0.0)
        return View(course, use, step[:, :, None], departures(data, course) / self.scale)

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Lens:
        """Return the lens of which `state` is `asdict`."""
        course, cleaner = Course(**state["course"]), Cleaner(**state["cleaner"])
        return cls(course, cleaner, state["clock"], state["scale"])


@dataclass(frozen=True)
class Trained:
    """Networks on one set of inputs, and how they did on the inner validation cells (MAE [1])."""

    dynamics: Dynamics
    lens: Lens
    epochs: int
    trust: float
    error: float
    history: list[dict[str, Any]]


def _stack(views: Sequence[View], device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return use and step (rpt - 1, member, cell, ...) and context (member, cell, context)."""
    use, step, context = (
        np.stack([getattr(view, name) for view in views]) for name in ("use", "step", "context")
    )
    arrays = (np.moveaxis(use, 2, 0), np.moveaxis(step, 2, 0), context)
    return tuple(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)


def _networks(tensors: dict[str, torch.Tensor]) -> Dynamics:
    members, fan, _ = tensors["inner"].shape
    dynamics = Dynamics(members, fan - LATENT, tensors["start"].shape[1], seed=0)
    dynamics.load_state_dict(tensors)
    return dynamics
