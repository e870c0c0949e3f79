"""Images in memory: sources, splits, corruptions and out-of-distribution sets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
