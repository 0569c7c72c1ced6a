"""Losses of a segmentation; pixels of unknown class take no part."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_hep.tasks.ccd.masks import CLASSES, UNKNOWN
from lit_hep.training.processes import average, total

Term = Literal["cross_entropy", "focal", "dice"]


class SegmentationLoss(nn.Module):
    """Sum of terms, each a mean over the pixels whose class is known.

    ``cross_entropy`` is the original's: -w log p of the true class, divided by the number of pixels, not by their
    weights. ``focal`` multiplies it by (1 - p)^gamma (T.-Y. Lin et al., arXiv:1708.02002). ``dice`` is one minus the
    Dice coefficient of probabilities over the batch, averaged over classes whose weight is not 0 (F. Milletari et al.,
    arXiv:1606.04797). In training a batch is that of all processes together.

    Args:
        terms: Which.
        gamma: Of the focal term.
    """

    weights: Tensor

    def __init__(self, terms: Sequence[Term], gamma: float = 2.0) -> None:
        super().__init__()
        self.terms, self.gamma = terms, gamma
        self.register_buffer("weights", torch.ones(len(CLASSES)))

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, classes, H, W) and classes (B, H, W) to a number."""
        target = mask.long()
        known = target != UNKNOWN
        pixels = known.sum()
        pixels = (average(pixels) if self.training else pixels).clamp(min=1)
        logits = logits.float()
        loss = logits.new_zeros(())
        if "cross_entropy" in self.terms:
            loss = loss + self._sum(logits, target) / pixels
        if "focal" in self.terms:
            log = logits.log_softmax(1)
            true = log.gather(1, target.where(known, 0)[:, None])[:, 0]
            with_weight = self.weights[target.where(known, 0)] * known
            loss = loss - (with_weight * (1 - true.exp()) ** self.gamma * true).sum() / pixels
        if "dice" in self.terms:
            loss = loss + self._dice(logits, target, known)
        return loss

    def _sum(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, self.weights, ignore_index=UNKNOWN, reduction="sum")

    def _dice(self, logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
        probability = logits.softmax(1) * known[:, None]
        true = F.one_hot(target.where(known, len(self.weights)), len(self.weights) + 1)[..., :-1].movedim(-1, 1)
        sums = torch.stack([(probability * true).sum((0, 2, 3)), (probability + true).sum((0, 2, 3))])
        both, either = total(sums) if self.training else sums
        dice = (2 * both + 1) / (either + 1)
        counted = (self.weights > 0).float()
        loss: Tensor = 1 - (dice * counted).sum() / counted.sum()
        return loss
