"""Small networks whose convolutions, pooling and ReLU are one kernel on a CPU."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lit_hep.compiled import library
from lit_hep.nets.dense import dense, dense_sizes
from lit_hep.nets.native import HasKernel, plain, pointers

_IMAGES = 16
"""Of a batch; of fewer, most of a vector would be empty."""


class PoolingCNN(HasKernel, nn.Sequential):
    """Blocks of a convolution, maximum pooling and ReLU, then `nn.Flatten` and other layers.

    In float32 on a CPU, with a C++ compiler (`lit_hep.compiled`), the blocks are one kernel and dense layers another
    (`lit_hep.nets.dense`), compiled with the first batch in two seconds. The first takes 16 images at a time (8 without
    AVX-512), one in each lane of a vector, through all blocks and back while they are in the cache. Answers and
    gradients are PyTorch's but for rounding, and the same to the last bit for any number of threads; hooks of single
    layers are not called. Halves, batches of fewer than 16 images and images whose gradient is wanted go PyTorch's way.

    Args:
        *layers: Three a block: `nn.Conv2d` with bias, without padding and stride, `nn.MaxPool2d`, `nn.ReLU`.
        blocks: How many.
    """

    def __init__(self, *layers: nn.Module, blocks: int) -> None:
        super().__init__(*layers)
        self._blocks = tuple(_sizes(*layers[3 * block : 3 * block + 2]) for block in range(blocks))
        self._dense = dense_sizes(layers[3 * blocks + 1 :])

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to what the last layer answers."""
        answer: Tensor
        learning = [layer for layer in self if isinstance(layer, nn.Conv2d | nn.Linear)]
        if (
            not self._suits(image, *(layer.weight for layer in learning))
            or (kernel := _kernel(self._blocks, *image.shape[2:])) is None
        ):
            answer = super().forward(image)  # type: ignore[no-untyped-call]
            return answer
        blocks = learning[: len(self._blocks)]
        answer = _Features.apply(image, kernel, *(value for layer in blocks for value in (layer.weight, layer.bias)))
        return dense(answer, list(self)[3 * len(self._blocks) + 1 :], self._dense)

    def _suits(self, image: Tensor, *weights: Tensor) -> bool:
        if not (self.native and self._blocks and plain(image, *weights)):
            return False
        wanted = image.dim() == 4 and image.shape[1] == self._blocks[0][0] and not image.requires_grad
        return wanted and image.shape[0] >= _IMAGES


_Sizes = tuple[int, int, int, int]
"""Of a block: channels of its images and of its answers, side of the kernel and of the pooling."""


def _sizes(convolution: Any, pool: Any) -> _Sizes:
    side = pool.kernel_size if isinstance(pool.kernel_size, int) else pool.kernel_size[0]
    return convolution.in_channels, convolution.out_channels, convolution.kernel_size[0], side


class _Kernel:
    """The functions of the library that has been compiled for these blocks and images."""

    def __init__(self, compiled: ctypes.CDLL, features: int) -> None:
        self.features = features
        sizes = ("group_size", "kept_bytes", "gradient_size")
        self.images, self.kept, self.learnt = (ctypes.c_int64.in_dll(compiled, name).value for name in sizes)
        pointer, number, threads = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        self.forward, self.backward = compiled.images_to_features, compiled.gradients_of_images
        self.forward.argtypes = [pointer, pointer, number, pointer, pointer, pointer, threads]
        self.backward.argtypes = [pointer, number, *[pointer] * 4, threads]
        self.forward.restype = self.backward.restype = None

    def groups(self, images: int) -> int:
        return -(-images // self.images)


@cache
def _kernel(blocks: Sequence[_Sizes], height: int, width: int) -> _Kernel | None:
    words = []
    for inputs, outputs, kernel, pool in blocks:
        words.append(f"{{{inputs},{height},{width},{outputs},{kernel},{pool}}}")
        height, width = ((side - kernel + 1) // pool for side in (height, width))
        if min(height, width) < 1:
            return None
    compiled = library(Path(__file__).with_suffix(".cpp"), (f"BLOCKS={','.join(words)}",))
    return None if compiled is None else _Kernel(compiled, outputs * height * width)


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, kernel: _Kernel, *learnt: Tensor) -> Tensor:
        learnt = tuple(value.contiguous() for value in learnt)
        kept = torch.empty(kernel.groups(len(image)) * kernel.kept, dtype=torch.uint8)
        features = torch.empty(len(image), kernel.features)
        strides = (ctypes.c_int64 * 4)(*image.stride())
        about = len(image), pointers(learnt), kept.data_ptr(), features.data_ptr(), torch.get_num_threads()
        kernel.forward(image.data_ptr(), strides, *about)
        ctx.kernel = kernel
        ctx.save_for_backward(kept, *learnt)
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kept, *learnt = ctx.saved_tensors
        gradient, images = gradient.contiguous(), len(gradient)
        of_learnt = [torch.empty_like(value) for value in learnt]
        sums = torch.empty(ctx.kernel.groups(images) * ctx.kernel.learnt)
        about = images, pointers(learnt), kept.data_ptr(), pointers(of_learnt), sums.data_ptr()
        ctx.kernel.backward(gradient.data_ptr(), *about, torch.get_num_threads())
        return None, None, *of_learnt
