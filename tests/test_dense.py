"""Dense layers by a kernel: their numbers and gradients are PyTorch's but for rounding."""

import pytest
import torch
from torch import nn

from lit_hep.nets.dense import dense, dense_sizes


def lenet():
    return [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 1)]


LAYERS = {
    "LeNet-5": lenet,
    "crater CNN": lambda: [nn.Linear(512, 8), nn.ReLU(), nn.Dropout(0.5).eval(), nn.Linear(8, 1)],
    "odd sizes": lambda: [nn.Linear(17, 5), nn.Linear(5, 33), nn.ReLU(), nn.Linear(33, 16), nn.ReLU()],
}


def taken(answer):
    """Whether the kernel has a part in it."""
    found = [answer.grad_fn]
    while found:
        one = found.pop()
        if type(one).__name__ == "_DenseBackward":
            return True
        found += [before for before, _ in one.next_functions if before]
    return False


def answered(layers, x):
    return dense(x, layers, dense_sizes(layers))


@pytest.mark.parametrize("images", [1, 8, 21])
@pytest.mark.parametrize("name", LAYERS)
def test_answers_and_gradients_are_pytorchs_but_for_rounding(name, images, vectors):
    torch.manual_seed(1)
    layers = LAYERS[name]()
    mine, theirs = nn.Sequential(*layers), nn.Sequential(*LAYERS[name]()).double()
    theirs.load_state_dict(mine.state_dict())
    x = torch.randn(layers[0].in_features, images).T.requires_grad_()  # whose rows are not together
    exact = x.detach().double().requires_grad_()
    answer, right = answered(layers, x), theirs(exact)
    weight = torch.randn(right.T.shape).T
    found = torch.autograd.grad(answer, [x, *mine.parameters()], weight)
    wanted = torch.autograd.grad(right, [exact, *theirs.parameters()], weight.double())
    assert taken(answer)
    for ours, other in zip([answer, *found], [right, *wanted], strict=True):
        assert ours.shape == other.shape and (ours - other).norm() <= 3e-6 * other.norm() + 1e-7


def test_same_numbers_for_any_number_of_threads(threads):
    layers, x, found = lenet(), torch.randn(100, 400, requires_grad=True), []
    for number in (1, 2):
        threads(number)
        answer = answered(layers, x)
        found.append([answer, *torch.autograd.grad(answer.sum(), [x, *nn.Sequential(*layers).parameters()])])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_what_is_not_finite_stays_in_its_row_and_what_is_dead_learns_nothing():
    layers, x = lenet(), torch.randn(20, 400)
    with torch.no_grad():
        layers[0].weight[3] = 0
        layers[0].bias[3] = 0  # at exactly zero
    answer = answered(layers, x)
    answer.sum().backward()
    assert layers[0].bias.grad[3] == 0 and not layers[0].weight.grad[3].any() and layers[0].weight.grad[4].any()
    x[7, 5] = float("nan")
    assert answered(layers, x).isfinite().flatten().tolist() == [row != 7 for row in range(20)]


@pytest.mark.parametrize(
    ("layers", "sizes"),
    [
        ([nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)], ((4, 3, True), (3, 2, False))),
        ([nn.Linear(4, 3), nn.ReLU(), nn.ReLU(), nn.Linear(3, 2)], ((4, 3, True),)),
        ([nn.Linear(4, 3), nn.Dropout(0.5), nn.ReLU()], ((4, 3, False),)),
        ([nn.Linear(4, 3), nn.Linear(3, 2, bias=False)], ((4, 3, False),)),
        ([nn.ReLU(), nn.Linear(4, 3)], ()),
        ([], ()),
    ],
)
def test_what_follows_other_layers_is_left_to_them(layers, sizes):
    assert dense_sizes(layers) == sizes


def test_images_of_another_size_go_pytorchs_way_which_says_so():
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        answered(lenet(), torch.rand(20, 399))
