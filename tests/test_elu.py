"""Exponential linear units with dropout: PyTorch's numbers but for rounding, with the kernel and without."""

import pytest
import torch
from torch import nn

from lit_hep.nets.elu import ELU, _kernel
from lit_hep.nets.native import use_kernels

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("dtype", "atol", "rtol"), [(torch.float32, 2e-7, 0), (torch.bfloat16, 1e-7, 2**-8), (torch.float16, 2e-7, 2**-10)]
)
@pytest.mark.parametrize("repeated", [1, 300])  # a single block, several
def test_elu_is_pytorchs_but_for_rounding(layout, dtype, atol, rtol, repeated):
    values = torch.cat([torch.linspace(-20, 20, 1000), torch.tensor([0.0, -1e-9, -3e4, 3e4])]).repeat(4 * repeated)
    image = values.reshape(repeated, 4, -1, 4).to(dtype).contiguous(memory_format=layout).requires_grad_()
    mine, theirs = ELU()(image), nn.functional.elu(image)
    assert mine.is_contiguous(memory_format=layout) and mine.dtype == dtype
    assert torch.allclose(mine, theirs, rtol=rtol, atol=atol)
    gradients = [torch.autograd.grad(value.sum(), image)[0] for value in (mine, theirs)]
    assert torch.allclose(*gradients, rtol=rtol, atol=2e-7)
    with_holes = image[:, 1:3, ::2]
    assert torch.allclose(ELU()(with_holes), nn.functional.elu(with_holes), rtol=rtol, atol=atol)
    assert ELU()(torch.full((2,), torch.nan, dtype=dtype)).isnan().all()


def kernel(dropout=0.0):
    layer = ELU(dropout)
    use_kernels(layer)
    return layer


def taken(answer):
    return type(answer.grad_fn).__name__ == "_DroppedBackward"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(2, 3, 64, 70), (1, 3, 5, 7), (0, 3, 4, 4)])
def test_kernel_is_pytorchs_but_for_rounding(size, layout, vectors):
    torch.manual_seed(4)
    image = (20 * torch.randn(size)).to(memory_format=layout).requires_grad_()
    exact = image.detach().double().requires_grad_()
    mine, theirs = kernel()(image), nn.functional.elu(exact)
    assert taken(mine) and mine.stride() == image.stride()
    assert torch.allclose(mine.double(), theirs, rtol=1e-7, atol=2e-7)
    weight = torch.randn(size)  # of another layout
    gradients = [torch.autograd.grad(value, x, weight.to(x))[0] for value, x in ((mine, image), (theirs, exact))]
    assert torch.allclose(gradients[0].double(), gradients[1], rtol=3e-7, atol=2e-7)
    with_holes = image[:, :, ::2]
    assert torch.allclose(kernel()(with_holes), nn.functional.elu(with_holes), atol=2e-7)


def test_extreme_values(vectors):
    inf = torch.inf
    image = torch.tensor([torch.nan, inf, -inf, 0.0, -0.0, -1e-20, 1e-20, -87.0, -200.0, -1e30, 1e30] * 2)
    image.requires_grad_()
    mine, theirs = kernel()(image), nn.functional.elu(image)
    assert torch.allclose(mine, theirs, rtol=0, atol=1e-7, equal_nan=True)
    assert not mine[image == 0].signbit().any(), "-0 would be dropped"
    gradients = [torch.autograd.grad(answer.sum(), image)[0] for answer in (mine, theirs)]
    assert torch.allclose(*gradients, rtol=0, atol=1e-7, equal_nan=True)


def test_kernel_drops_its_share_and_what_is_kept_learns(vectors, threads):
    image = torch.randn(7, 5, 67, 101)
    image[0] = 0
    image.requires_grad_()
    layer, plain = kernel(0.18), nn.functional.elu(image)
    torch.manual_seed(5)
    answer = layer(image)
    dropped = answer.signbit() & (answer == 0)
    assert dropped.float().mean() == pytest.approx(0.18, abs=0.002)
    assert (dropped.flatten()[1:] & dropped.flatten()[:-1]).float().mean() == pytest.approx(0.18**2, abs=0.001)
    for lane in range(16):
        assert dropped.flatten()[lane::16].float().mean() == pytest.approx(0.18, abs=0.008)
    wanted = torch.where(dropped, 0, plain / 0.82)
    assert torch.allclose(answer, wanted, atol=1e-6)
    weight = torch.randn(image.shape)
    gradients = [torch.autograd.grad(value, image, weight)[0] for value in (answer, wanted)]
    assert torch.allclose(*gradients, atol=1e-6) and (gradients[0][0] != 0).float().mean() > 0.8
    again = layer(image)
    assert (dropped & again.signbit() & (again == 0)).float().mean() == pytest.approx(0.18**2, abs=0.003)
    for number in (1, 2):
        threads(number)
        torch.manual_seed(5)
        assert torch.equal(layer(image), answer)
    assert torch.equal(layer.eval()(image), kernel()(image))


def test_drawn_alike_by_all_processors(monkeypatch):
    seen = []
    for vectors in ("AVX512", "AVX2"):
        if vectors > torch.backends.cpu.get_cpu_capability():
            pytest.skip("the processor has one kind of vectors")
        with monkeypatch.context() as patch:
            patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: vectors)  # noqa: B023
            patch.setattr("lit_hep.nets.elu._kernel", _kernel.__wrapped__)
            torch.manual_seed(5)
            seen.append(kernel(0.5)(torch.ones(1000)))
    assert torch.equal(*seen)


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_without_kernel_dropout_is_a_layer(dropout):
    image = torch.ones(10_000)
    answer = ELU(dropout)(image)
    assert (answer == 0).float().mean() == pytest.approx(dropout, abs=0.02)
    assert torch.equal(ELU(dropout).eval()(image), image)
    assert not taken(kernel(1.0)(image.requires_grad_()))
    assert not taken(kernel(dropout)(image.double().requires_grad_()))
