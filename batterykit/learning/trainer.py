"""Trains small networks as stacked members: all inner folds and the final ones in one loop.

Each parameter has a leading `member` axis; losses add up and gradients do not mix, so that training
together gives what training one by one would, at the cost of one. Members trained without their
inner validation cells say when to stop; members trained on all training cells are what is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from batterykit.errors import UsageError
from batterykit.learning.models.base import Listen

Loss = Callable[[], torch.Tensor]
"""Returns the training loss of each member, (member)."""

Score = Callable[[], float]
"""Returns the error on the inner validation cells."""


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Attributes
    ----------
    epochs
        At most.
    check_every
        Epochs between validations.
    patience
        Validations without improvement before stopping.
    learning_rate, weight_decay
        Of AdamW.
    restart
        Epochs to the first cosine restart of the learning rate; each next cycle is twice as long.
    clip
        Largest gradient norm of a member.
    """

    epochs: int = 350
    check_every: int = 5
    patience: int = 20
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    restart: int = 50
    clip: float = 1.0


def train_members(
    parameters: list[torch.nn.Parameter],
    loss: Loss,
    score: Score,
    options: TrainOptions,
    listen: Listen,
) -> tuple[int, list[dict[str, Any]]]:
    """Train, and leave the parameters as they were at the best validation.

    Parameters
    ----------
    parameters
        Each (member, ...).
    loss, score
        See `Loss`, `Score`; the untrained parameters are scored first.
    options
        How to train.
    listen
        Told the validation error.

    Returns
    -------
    tuple
        The best epoch (0: untrained) and the history, one entry per validation.
    """
    optimizer = torch.optim.AdamW(
        parameters, lr=options.learning_rate, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=options.restart, T_mult=2
    )
    best_epoch, least, best = 0, score(), _copy(parameters)
    history: list[dict[str, Any]] = [{"epoch": 0, "loss": None, "valid_mae": least}]
    for epoch in range(1, options.epochs + 1):
        optimizer.zero_grad()
        losses = loss()
        torch.autograd.backward(losses.sum())
        _clip_members(parameters, options.clip)
        optimizer.step()
        schedule.step()
        if epoch % options.check_every:
            continue
        error = score()
        mean_loss = float(losses.detach().mean())
        history.append({"epoch": epoch, "loss": mean_loss, "valid_mae": error})
        listen(f"epoch {epoch}, loss {mean_loss:.3f}, inner MAE {100 * error:.2f} pp")
        if error < least:
            best_epoch, least, best = epoch, error, _copy(parameters)
        elif epoch - best_epoch >= options.patience * options.check_every:
            break
    with torch.no_grad():
        for parameter, value in zip(parameters, best, strict=True):
            parameter.copy_(value)
    return best_epoch, history


def choose_device(wanted: str) -> torch.device:
    """Return the device: `auto` takes CUDA where there is one.

    Raises
    ------
    UsageError
        CUDA is wanted and there is none.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "this machine, or the installed torch, has no CUDA",
            fix="use --device cpu, or install a torch that is built for CUDA",
        )
    return torch.device(wanted)


@contextmanager
def deterministic() -> Iterator[None]:
    """Run torch on one thread with deterministic algorithms, and put both settings back."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


def member_noise(seed: int, members: int, *shape: int) -> torch.Tensor:
    """Return standard normal numbers (member, *shape), float64, the same for a seed anywhere."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((members, *shape)))


def _clip_members(parameters: list[torch.nn.Parameter], most: float) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = sum((g.flatten(1) ** 2).sum(dim=1) for g in gradients)
    factor = (most / (torch.as_tensor(squares).sqrt() + 1e-12)).clamp(max=1.0)
    for gradient in gradients:
        gradient *= factor.reshape(-1, *([1] * (gradient.dim() - 1)))


def _copy(parameters: list[torch.nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]
