from .datamodule import CCDDataModule as CCDDataModule
from .module import CCDUNet as CCDUNet
