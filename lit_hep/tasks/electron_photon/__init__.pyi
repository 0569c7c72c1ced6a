from .datamodule import ElectronPhotonDataModule as ElectronPhotonDataModule
from .module import ElectronPhoton as ElectronPhoton
