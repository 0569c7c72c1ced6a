"""CCD images: find the clusters of ionising particles among hot pixels and glow."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
