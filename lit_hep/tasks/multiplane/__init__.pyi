from .datamodule import MultiPlaneDataModule as MultiPlaneDataModule
from .module import MultiPlaneFusion as MultiPlaneFusion
