from .datamodule import DriftChamberDataModule as DriftChamberDataModule
from .module import Pix2PixGAN as Pix2PixGAN
