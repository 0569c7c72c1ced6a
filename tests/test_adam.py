"""Adam of weights with the channels innermost: PyTorch's numbers, without copies, and with a checkpoint's moments."""

from copy import deepcopy

import pytest
import torch
from torch.profiler import profile

from lit_hep.training.adam import as_they_lie

LAYOUTS = torch.contiguous_format, torch.channels_last
KINDS = torch.optim.Adam, torch.optim.AdamW


def weights(layout):
    """Of a convolution and a bias, with gradients."""
    torch.manual_seed(1)
    made = [torch.nn.Parameter(torch.randn(shape)) for shape in ((6, 4, 3, 2), (6,))]
    made[0].data = made[0].data.to(memory_format=layout)
    return made


def learn(optimizer, parameters):
    """Three steps."""
    for number in range(3):
        torch.manual_seed(number)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape).contiguous(
                memory_format=torch.channels_last if parameter.stride(-1) > 1 else torch.contiguous_format
            )
        optimizer.step()


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_pytorchs_of_any_layout(kind, layout, amsgrad):
    mine, theirs = weights(layout), weights(torch.contiguous_format)
    learn(as_they_lie(kind(mine, 0.1, fused=True, amsgrad=amsgrad)), mine)
    learn(kind(theirs, 0.1, foreach=True, amsgrad=amsgrad), theirs)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)
        assert one.is_contiguous(memory_format=layout if one.dim() == 4 else torch.contiguous_format)


def test_nothing_is_copied():
    mine = weights(torch.channels_last)
    optimizer = as_they_lie(torch.optim.Adam(mine, 0.1, fused=True))
    learn(optimizer, mine)
    with profile(record_shapes=True) as calls:
        optimizer.step()
    assert not [call for call in calls.events() if call.name == "aten::copy_" and len(call.input_shapes[0]) == 4]


@pytest.mark.parametrize("before", LAYOUTS)
@pytest.mark.parametrize("after", LAYOUTS)
def test_a_checkpoint_goes_on_in_another_layout(before, after):
    first, then, whole = weights(before), weights(after), weights(torch.contiguous_format)
    optimizer = as_they_lie(torch.optim.Adam(first, 0.1, fused=True))
    learn(optimizer, first)
    goes_on = as_they_lie(torch.optim.Adam(then, 0.1, fused=True))
    goes_on.load_state_dict(deepcopy(optimizer.state_dict()))
    for mine, reached in zip(then, first, strict=True):
        mine.data.copy_(reached.data)
    learn(goes_on, then)
    optimizer = torch.optim.Adam(whole, 0.1, foreach=True)
    learn(optimizer, whole)
    learn(optimizer, whole)
    for mine, other in zip(then, whole, strict=True):
        torch.testing.assert_close(mine, other)


def test_other_optimizers_stay():
    assert type(as_they_lie(torch.optim.SGD(weights(LAYOUTS[0])))) is torch.optim.SGD
