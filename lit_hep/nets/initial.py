"""Weights to start from, adapted to the data, for deep networks without batch norm."""

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def adapt_to_images(net: nn.Module, images: Tensor, outputs: int) -> None:
    """Give what each channel of each layer answers to these images mean 0 and standard deviation 1.

    Through many layers of random weights all images come to look alike: each channel answers with its own mean, and a
    little of what tells images apart. Here weights and biases of a layer are scaled and moved to take that mean away,
    after those of the layers called before it (T. Salimans, D. P. Kingma, arXiv:1602.07868, section 3; D. Mishkin,
    J. Matas, arXiv:1511.06422).

    Args:
        net: Its convolutions and dense layers with a bias are changed, but for dense layers of `outputs` features.
        images: (B, channels, H, W), some dozens.
        outputs: Logits an image; the layers that give them stay as they are.
    """

    def adapt(layer: Any, _: Any, answer: Tensor) -> Tensor:
        handles.pop(layer).remove()
        channel = 1 if isinstance(layer, nn.Conv2d) else answer.dim() - 1
        over = [axis for axis in range(answer.dim()) if axis != channel]
        deviation, mean = torch.std_mean(answer, over, keepdim=True)
        deviation = torch.where(deviation > 0, deviation, 1)
        layer.bias.sub_(mean.flatten()).div_(deviation.flatten())
        layer.weight.div_(deviation.reshape(-1, *[1] * (layer.weight.dim() - 1)))
        return (answer - mean) / deviation

    handles = {
        layer: layer.register_forward_hook(adapt)
        for layer in net.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
        and layer.bias is not None
        and getattr(layer, "out_features", None) != outputs
    }
    training = net.training
    try:
        net.eval().forward(images)  # not compiled
    finally:
        net.train(training)
        for handle in handles.values():
            handle.remove()
