from .dial import (
    LamRange as LamRange,
    choose_range as choose_range,
    draw_at as draw_at,
    suggest_lam_range as suggest_lam_range,
)
from .hypernetwork import (
    Hypernetwork as Hypernetwork,
)
from .inherit import (
    Inheritance as Inheritance,
    InheritedModel as InheritedModel,
)
from .module import (
    EdgeNESModule as EdgeNESModule,
    Silenced as Silenced,
    loss_of as loss_of,
    path_loss as path_loss,
)
from .penalty import (
    ExpectedCost as ExpectedCost,
    Penalty as Penalty,
)
from .regularizers import (
    Annealed as Annealed,
    Diversity as Diversity,
    JensenShannon as JensenShannon,
    SharedEdgeCounter as SharedEdgeCounter,
    SharedEdges as SharedEdges,
    expected_shared_edges as expected_shared_edges,
)
from .sampler import (
    ArchitectureSampler as ArchitectureSampler,
    Candidate as Candidate,
    best_by_loss as best_by_loss,
)
from .schedule import (
    Schedule as Schedule,
    SearchSettings as SearchSettings,
)
from .strategy import (
    EdgeNES as EdgeNES,
    check_trainer as check_trainer,
    trained_strategy as trained_strategy,
)
from .supernet import (
    PathWeights as PathWeights,
    Supernet as Supernet,
    WeightedCell as WeightedCell,
    WeightedInput as WeightedInput,
    WeightedLayer as WeightedLayer,
    WeightedPolicy as WeightedPolicy,
    WeightedRepeat as WeightedRepeat,
    batch_statistics as batch_statistics,
    mutation_hooks as mutation_hooks,
    weighted_operation as weighted_operation,
)
