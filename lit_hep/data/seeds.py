"""Seeds that are functions of where a run stands, so that nothing random needs saving."""

import os
import random

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
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  imgaug and users' transforms draw from the global state
    random.seed(seed)
