from .scores import (
    Reliability as Reliability,
)
from .scores import (
    accuracy as accuracy,
)
from .scores import (
    aurc as aurc,
)
from .scores import (
    brier as brier,
)
from .scores import (
    check_labels as check_labels,
)
from .scores import (
    check_probabilities as check_probabilities,
)
from .scores import (
    disagreement as disagreement,
)
from .scores import (
    ece as ece,
)
from .scores import (
    nll as nll,
)
from .scores import (
    nll_of_each as nll_of_each,
)
from .scores import (
    oracle_accuracy as oracle_accuracy,
)
from .scores import (
    pairwise_disagreement as pairwise_disagreement,
)
from .scores import (
    reliability as reliability,
)
from .scores import (
    summary as summary,
)
from .statistics import (
    image_scores as image_scores,
)
from .statistics import (
    mean_scores as mean_scores,
)
from .statistics import (
    paired_intervals as paired_intervals,
)
from .statistics import (
    rank_correlation as rank_correlation,
)
from .statistics import (
    resampled_means as resampled_means,
)
from .uncertainty import (
    Entropy as Entropy,
)
from .uncertainty import (
    contributions as contributions,
)
from .uncertainty import (
    entropy_split as entropy_split,
)
from .uncertainty import (
    marginal_gains as marginal_gains,
)
from .uncertainty import (
    ood_auroc as ood_auroc,
)
from .uncertainty import (
    ood_scores as ood_scores,
)
from .uncertainty import (
    swap_gains as swap_gains,
)
from .uncertainty import (
    without as without,
)
