"""Layers and functions of lit_hep that answer as PyTorch's do, against PyTorch's own."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.engine import Figure, Settings, Table, alternate
from benchmarks.roofline import Roofline, timed
from lit_hep.nets.cnn import CraterCNN
from lit_hep.nets.convolution import Step
from lit_hep.nets.cpu import DoublingConv, Dropout, HalvingMaxPool, asinh
from lit_hep.nets.elu import ELU
from lit_hep.nets.lanes import PoolingCNN
from lit_hep.nets.lenet import LeNet5
from lit_hep.nets.native import use_kernels
from lit_hep.nets.norm import Normed
from lit_hep.nets.pix2pix import HALVE
from lit_hep.nets.strided import LastConv, StridedConv, StridedConvTranspose
from lit_hep.nets.winograd import WinogradConv
from lit_hep.training.memory import Memory, keep

Layer = Callable[[Tensor], Tensor]
Case = tuple[Layer, Layer, tuple[int, ...], torch.memory_format]

_LAST = torch.channels_last


def _native(net: nn.Module) -> nn.Module:
    use_kernels(net)
    return net


def _winograd(channels: int, shape: tuple[int, ...]) -> Case:
    kinds = WinogradConv, nn.Conv2d
    ours, theirs = (kind(channels, channels, 3, padding=1).to(memory_format=_LAST) for kind in kinds)
    return ours, theirs, shape, _LAST


def _pair(layer: nn.Module, channels: int, side: int) -> Case:
    ours, theirs = (deepcopy(layer).to(memory_format=_LAST) for _ in range(2))
    return _native(ours), theirs, (8, channels, side, side), _LAST


def _strided(
    kind: type[StridedConv | StridedConvTranspose], inputs: int, outputs: int, side: int, step: Step = HALVE
) -> Case:
    return _pair(kind(inputs, outputs, *step), inputs, side)


def _whole(net: nn.Module, shape: tuple[int, ...]) -> Case:
    ours, theirs = (deepcopy(net) for _ in range(2))
    return _native(ours), theirs, shape, torch.contiguous_format


def _blocks(net: nn.Sequential, shape: tuple[int, ...]) -> Case:
    ours, theirs = (PoolingCNN(*list(deepcopy(net))[:7], blocks=2) for _ in range(2))
    return _native(ours), theirs, shape, _LAST


_LAYERS: dict[str, Case] = {
    "dropout": (Dropout(0.18), nn.Dropout(0.18), (4, 32, 256, 256), _LAST),
    "ELU": (_native(ELU()), nn.ELU(), (4, 32, 256, 256), _LAST),
    "ELU and dropout": (
        _native(ELU(0.18)),
        nn.Sequential(nn.ELU(), nn.Dropout(0.18)),
        (4, 32, 256, 256),
        _LAST,
    ),
    "2×2 pooling": (HalvingMaxPool(), nn.MaxPool2d(2), (256, 6, 28, 28), torch.contiguous_format),
    "3×3 pooling and ReLU, in which order": (
        nn.Sequential(nn.MaxPool2d(3), nn.ReLU()),
        nn.Sequential(nn.ReLU(), nn.MaxPool2d(3)),
        (32, 16, 46, 46),
        _LAST,
    ),
    "2×2 transposed convolution": (
        DoublingConv(64, 32).to(memory_format=_LAST),
        nn.ConvTranspose2d(64, 32, 2, stride=2).to(memory_format=_LAST),
        (4, 64, 128, 128),
        _LAST,
    ),
    "3×3 convolution by Winograd's way, 32 channels": _winograd(32, (4, 32, 256, 256)),
    "the same, 128 channels": _winograd(128, (4, 128, 64, 64)),
    "the same, 512 channels": _winograd(512, (8, 512, 28, 28)),
    "convolutions, pooling, ReLU of LeNet-5": _blocks(LeNet5(), (256, 2, 32, 32)),
    "the same of the original crater network": _blocks(CraterCNN().to(memory_format=_LAST), (256, 1, 48, 48)),
    "all layers of LeNet-5": _whole(LeNet5(), (32, 2, 32, 32)),
    "4×4 convolution of stride 2, of few pixels as a product": _strided(StridedConv, 512, 512, 4),
    "the same, of more by the matrix unit or Winograd's way": _strided(StridedConv, 128, 256, 32),
    "its transpose, of few pixels as a product": _strided(StridedConvTranspose, 1024, 512, 2),
    "its transpose, of more by the matrix unit or Winograd's way": _strided(StridedConvTranspose, 512, 128, 16),
    "4×4 convolution of stride 1, alike": _strided(StridedConv, 256, 512, 16, Step((4, 4), (1, 1), (1, 1))),
    "4×4 convolution to one channel": _pair(LastConv(512, 4), 512, 15),
    "batch norm and leaky ReLU": _pair(Normed(nn.BatchNorm2d(128), nn.LeakyReLU(0.2)), 128, 32),
    "asinh": (asinh, torch.asinh, (4, 2, 256, 256), torch.contiguous_format),
    "log(1 + |x|), log1p": (
        lambda x: (1 + x.abs()).log(),
        lambda x: x.abs().log1p(),
        (32, 3, 112, 112),
        _LAST,
    ),
}
"""Ours, PyTorch's, shape and layout where a shipped network has it."""


def measure(settings: Settings, roofline: Roofline, tables: list[Table]) -> None:
    """Measure all layers."""
    keep(Memory())  # as `fit` does
    columns = ["layer", "shape", "ours, ms", "PyTorch's, ms", "PyTorch's ÷ ours"]
    table = Table("Layers", columns, "Forward; backward too, but for functions of the input.")
    tables.append(table)
    for title, (ours, theirs, shape, layout) in _LAYERS.items():
        shape = (1, *shape[1:]) if settings.quick else shape
        image = torch.randn(shape, device=settings.device).contiguous(memory_format=layout)
        image.requires_grad_(isinstance(ours, nn.Module) and not isinstance(ours, PoolingCNN))  # which come first
        ways = {name: partial(_milliseconds, layer, image) for name, layer in (("ours", ours), ("theirs", theirs))}
        taken = alternate(ways, settings.repeats)
        ratio: Figure = taken["theirs"] / taken["ours"]
        table.add(title, "×".join(map(str, shape)), taken["ours"], taken["theirs"], ratio)


def _milliseconds(layer: Layer, image: Tensor, times: int = 10) -> float:
    wanted = [image] if image.requires_grad else []
    wanted += layer.parameters() if isinstance(layer, nn.Module) else ()

    def run() -> None:
        for _ in range(times):
            answer = layer(image)
            if answer.requires_grad:
                torch.autograd.grad(answer, wanted, answer)

    return 1e3 * timed(run, image.device.type) / times
