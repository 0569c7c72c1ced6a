"""What generator and discriminator are told of each other."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

AdversarialLoss = Literal["bce", "hinge", "lsgan"]


def discriminator_loss(real: Tensor, fake: Tensor, kind: AdversarialLoss, smoothing: float = 0) -> Tensor:
    """Loss (B,) of the discriminator, the mean over patches.

    Args:
        real: Its logits for true pictures (B, ...).
        fake: The same for made ones.
        kind: ``bce`` (I. Goodfellow et al., arXiv:1406.2661), ``lsgan`` (X. Mao et al., arXiv:1611.04076) or
            ``hinge`` (J. H. Lim, J. C. Ye, arXiv:1705.02894).
        smoothing: What true pictures lack to the label 1; of no use to ``hinge``.
    """
    if kind == "hinge":
        return mean(F.relu(1 - real) + F.relu(1 + fake))
    return _distance(real, 1 - smoothing, kind) + _distance(fake, 0, kind)


def generator_loss(fake: Tensor, kind: AdversarialLoss) -> Tensor:
    """Loss (B,) of the generator for the discriminator's logits (B, ...) of its pictures, the mean over patches."""
    return -mean(fake) if kind == "hinge" else _distance(fake, 1, kind)


def taken_for_real(logits: Tensor, kind: AdversarialLoss) -> Tensor:
    """Share (B,) of patches that the discriminator takes for true."""
    return mean((logits > (0.5 if kind == "lsgan" else 0)).float())


def mean(value: Tensor) -> Tensor:
    """Mean (B,) of each sample's values (B, ...)."""
    return value.reshape(len(value), -1).mean(1)


def _distance(logits: Tensor, label: float, kind: AdversarialLoss) -> Tensor:
    wanted = logits.new_full(logits.shape, label)
    distance = F.mse_loss if kind == "lsgan" else F.binary_cross_entropy_with_logits
    return mean(distance(logits, wanted, reduction="none"))
