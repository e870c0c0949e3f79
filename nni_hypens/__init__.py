"""Neural ensembles as an NNI strategy: one search around a base architecture, any number of diverse members."""

import lazy_loader

__version__ = "0.1.0"

# Names load on first use: a trial needs a few of them, and NNI with Lightning takes seconds to import.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
