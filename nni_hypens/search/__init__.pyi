from .dial import (
    LamRange as LamRange,
)
from .dial import (
    choose_range as choose_range,
)
from .dial import (
    draw_at as draw_at,
)
from .dial import (
    suggest_lam_range as suggest_lam_range,
)
from .hypernetwork import (
    Hypernetwork as Hypernetwork,
)
from .inherit import (
    Inheritance as Inheritance,
)
from .inherit import (
    InheritedModel as InheritedModel,
)
from .module import (
    EdgeNESModule as EdgeNESModule,
)
from .module import (
    Silenced as Silenced,
)
from .module import (
    loss_of as loss_of,
)
from .module import (
    path_loss as path_loss,
)
from .penalty import (
    ExpectedCost as ExpectedCost,
)
from .penalty import (
    Penalty as Penalty,
)
from .regularizers import (
    Annealed as Annealed,
)
from .regularizers import (
    Diversity as Diversity,
)
from .regularizers import (
    JensenShannon as JensenShannon,
)
from .regularizers import (
    SharedEdgeCounter as SharedEdgeCounter,
)
from .regularizers import (
    SharedEdges as SharedEdges,
)
from .regularizers import (
    expected_shared_edges as expected_shared_edges,
)
from .sampler import (
    ArchitectureSampler as ArchitectureSampler,
)
from .sampler import (
    Candidate as Candidate,
)
from .sampler import (
    best_by_loss as best_by_loss,
)
from .sampler import (
    choose_ensemble as choose_ensemble,
)
from .sampler import (
    choose_pool as choose_pool,
)
from .schedule import (
    Schedule as Schedule,
)
from .schedule import (
    SearchSettings as SearchSettings,
)
from .strategy import (
    EdgeNES as EdgeNES,
)
from .strategy import (
    check_trainer as check_trainer,
)
from .strategy import (
    trained_strategy as trained_strategy,
)
from .supernet import (
    PathWeights as PathWeights,
)
from .supernet import (
    Supernet as Supernet,
)
from .supernet import (
    WeightedCell as WeightedCell,
)
from .supernet import (
    WeightedInput as WeightedInput,
)
from .supernet import (
    WeightedLayer as WeightedLayer,
)
from .supernet import (
    WeightedPolicy as WeightedPolicy,
)
from .supernet import (
    WeightedRepeat as WeightedRepeat,
)
from .supernet import (
    batch_statistics as batch_statistics,
)
from .supernet import (
    mutation_hooks as mutation_hooks,
)
from .supernet import (
    weighted_operation as weighted_operation,
)
