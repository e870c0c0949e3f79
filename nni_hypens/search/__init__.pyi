from .dial import suggest_lam_range as suggest_lam_range
from .hypernetwork import Hypernetwork as Hypernetwork
from .jensen_shannon import JensenShannon as JensenShannon
from .lam_range import LamRange as LamRange
from .regularizers import Annealed as Annealed, Diversity as Diversity
from .sampler import ArchitectureSampler as ArchitectureSampler, Candidate as Candidate
from .settings import SearchSettings as SearchSettings
from .shared_edges import (
    SharedEdgeCounter as SharedEdgeCounter,
    SharedEdges as SharedEdges,
    expected_shared_edges as expected_shared_edges,
)
from .strategy import EdgeNES as EdgeNES
