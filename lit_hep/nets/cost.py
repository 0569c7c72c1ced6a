"""What a network costs."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(net: nn.Module) -> int:
    """Number of learnt parameters."""
    return sum(value.numel() for value in net.parameters() if value.requires_grad)


def multiply_adds(net: nn.Module, shape: Sequence[int]) -> int:
    """Multiplications with an addition, in convolutions and matrix products, that one image takes.

    Args:
        net: Any network; left as it is.
        shape: Of the image, (C, H, W).
    """
    training = net.training
    net.eval()
    # of tensors without values: nothing is computed, and no layer takes a way that multiplies less
    values = {name: value.to("meta") for name, value in [*net.named_parameters(), *net.named_buffers()]}
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        torch.func.functional_call(net, values, torch.zeros(1, *shape, device="meta"))
    net.train(training)
    return int(counter.get_total_flops()) // 2
