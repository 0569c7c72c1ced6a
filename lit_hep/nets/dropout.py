"""Dropout for large images."""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """Dropout (G. Hinton et al., arXiv:1207.0580) that on a CPU draws 64 random bits for four values, not for one.

    The share that is dropped is then a multiple of 2^-16.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Values of any shape and layout to as many."""
        if not self.training or x.device.type != "cpu" or torch.compiler.is_compiling() or self.p == 1:
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = bits[: x.numel()] >= round(self.p * 2**16) - 2**15
        strides = torch.empty_like(x).stride()  # of the same layout, without holes
        return (x * kept.as_strided(x.shape, strides)).mul_(1 / (1 - self.p))
