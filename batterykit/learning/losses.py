"""Losses for sequences of which only some check-ups count. Torch; one value per member."""

from __future__ import annotations

import torch

HUBER_WIDTH = 1.0
"""Where the loss turns from square to linear, in standard deviations of the training answers."""


def masked_huber(error: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean Huber loss over the rows of the mask.

    Parameters
    ----------
    error
        (member, cell, step), in standard deviations of the answers; may be NaN off the mask.
    mask
        (member, cell, step) bool.

    Returns
    -------
    torch.Tensor
        (member) finite for every mask: a member without rows has loss 0.
    """
    error = torch.where(mask, error, torch.zeros_like(error))
    size = error.abs()
    loss = torch.where(
        size <= HUBER_WIDTH, 0.5 * error**2, HUBER_WIDTH * (size - 0.5 * HUBER_WIDTH)
    )
    return loss.sum(dim=(1, 2)) / mask.sum(dim=(1, 2)).clamp(min=1)
