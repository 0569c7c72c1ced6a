"""PyTorch Lightning modules for detector images: five tasks, each a module, its data and a simulator.

The public names of every task folder are here too, imported when first asked for:
``from lit_hep import CraterSemiSup, CraterDataModule``.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

__version__ = "0.1.0"


def task_names() -> list[str]:
    """Names of the task folders, such as ``crater``."""
    return [module.name for module in iter_modules(import_module("lit_hep.tasks").__path__)]


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for task in task_names():
            module = import_module(f"lit_hep.tasks.{task}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module 'lit_hep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [name for task in task_names() for name in import_module(f"lit_hep.tasks.{task}").__all__]
