from .data.module import ImageData as ImageData
from .ensemble.export import export_ensemble as export_ensemble
from .ensemble.module import Ensemble as Ensemble
from .errors import InputError as InputError
from .run.api import search_ensemble as search_ensemble
from .run.result import EnsembleResult as EnsembleResult
from .run.settings import Settings as Settings
from .search.dial import suggest_lam_range as suggest_lam_range
from .search.jensen_shannon import JensenShannon as JensenShannon
from .search.shared_edges import SharedEdges as SharedEdges, expected_shared_edges as expected_shared_edges
from .search.strategy import EdgeNES as EdgeNES
from .space.architecture import EdgeGroup as EdgeGroup, EdgeStructure as EdgeStructure
from .space.known_results import KnownResults as KnownResults
from .trials.evaluators import image_evaluator as image_evaluator
from .trials.live import watch_search as watch_search
from .trials.strategy import CandidateTraining as CandidateTraining

__version__: str
