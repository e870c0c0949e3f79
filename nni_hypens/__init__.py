"""Neural ensembles as an NNI strategy: one search around a base architecture, any number of diverse members."""

import warnings

import lazy_loader

__version__ = "0.1.0"

# nni 3.0 walks torch.nn when it is imported and finds classes of newer versions of torch, about which no user can do
# anything. Can go when `python -W error -c "import nni.nas.nn.pytorch"` passes.
warnings.filterwarnings("ignore", message="<class 'torch.*'> is found to be not a nn.Module", category=RuntimeWarning)

# Names load on first use: a trial needs a few of them, and NNI with Lightning takes seconds to import.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
