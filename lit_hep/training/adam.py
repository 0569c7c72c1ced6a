"""Adam that takes weights with the channels innermost as they lie in memory."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class _AsTheyLie(Optimizer):
    """What PyTorch's fused optimizers on a CPU lack where weights (K, C, rows, columns) have C innermost.

    They copy each gradient into another order, and then read gradients and moments in that of memory: moments of a
    checkpoint that was written with another order would be those of other weights.
    """

    def _init_group(self, group: dict[str, Any], weights: list[Tensor], *others: list[Tensor]) -> bool:
        complex_numbers: bool = super()._init_group(group, weights, *others)  # type: ignore[misc]
        if group["fused"]:
            *alike, _ = others  # but for the steps
            for place, weight in enumerate(weights):
                if weight.dim() == 4 and weight.device.type == "cpu" and not weight.is_contiguous():
                    for values in (weights, *filter(None, alike)):
                        values[place] = values[place].permute(0, 2, 3, 1)
        return complex_numbers

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Of a checkpoint; moments get the order of their weights."""
        super().load_state_dict(state_dict)
        for weight, state in self.state.items():
            for name, value in state.items():
                if value.shape == weight.shape:
                    state[name] = torch.empty_like(weight).copy_(value)


class Adam(_AsTheyLie, torch.optim.Adam):
    """PyTorch's, D. Kingma and J. Ba, arXiv:1412.6980."""


class AdamW(_AsTheyLie, torch.optim.AdamW):
    """PyTorch's, I. Loshchilov and F. Hutter, arXiv:1711.05101."""


_KINDS: dict[type[Optimizer], type[Optimizer]] = {torch.optim.Adam: Adam, torch.optim.AdamW: AdamW}


def as_they_lie(optimizer: Optimizer) -> Optimizer:
    """The same optimizer, which if it is one of PyTorch's Adams takes weights as they lie."""
    optimizer.__class__ = _KINDS.get(type(optimizer), type(optimizer))
    return optimizer
