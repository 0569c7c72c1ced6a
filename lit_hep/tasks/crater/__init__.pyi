from .datamodule import CraterDataModule as CraterDataModule
from .module import CraterSemiSup as CraterSemiSup
from .pseudo_label import PseudoLabel as PseudoLabel
