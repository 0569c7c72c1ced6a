"""Seeds that are functions of where a run stands, so that nothing random needs saving."""

import os
import random
from functools import cache

import numpy as np
import torch


def run_seed() -> int:
    """The run's ``seed_everything``, which Lightning hands to all processes in the environment; 0 if none was set."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def derive(*numbers: int) -> int:
    """Mix numbers such as (seed, epoch, rank) into one well-spread seed, 0..2**32 - 1."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seed_all(*numbers: int) -> None:
    """Set the states of torch (all devices), numpy and Python from `derive(*numbers)`."""
    seed = derive(*numbers)
    if _has_accelerator():
        torch.manual_seed(seed)
    else:  # which would write down the stack of calls, for devices that never come
        torch.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  imgaug and users' transforms draw from the global state
    random.seed(seed)


@cache
def _has_accelerator() -> bool:
    return torch.accelerator.is_available()
