"""Drift-chamber events: keep the hits of tracks and drop the rest."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
