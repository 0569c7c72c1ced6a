"""Seeds of all generators, from numbers."""

import random

import numpy as np
import torch

from lit_hep.data.seeds import derive, seed_all


def drawn():
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002


def test_draws_are_a_function_of_the_numbers():
    draws = []
    for numbers in ((1, 2), (1, 3), (1, 2)):
        seed_all(*numbers)
        draws.append(drawn())
    assert draws[0] == draws[2] != draws[1]
    torch.manual_seed(derive(1, 2))
    assert draws[0][0] == torch.rand(3).tolist()
