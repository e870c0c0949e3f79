from .diversity import (
    contributions as contributions,
    disagreement as disagreement,
    oracle_accuracy as oracle_accuracy,
    pairwise_disagreement as pairwise_disagreement,
)
from .inputs import (
    PROBABILITY_FLOOR as PROBABILITY_FLOOR,
    SUM_TOLERANCE as SUM_TOLERANCE,
    check_labels as check_labels,
    check_probabilities as check_probabilities,
)
from .scores import (
    Reliability as Reliability,
    accuracy as accuracy,
    aurc as aurc,
    brier as brier,
    confusion as confusion,
    ece as ece,
    nll as nll,
    nll_of_each as nll_of_each,
    reliability as reliability,
    summary as summary,
    top_k as top_k,
)
from .statistics import (
    image_scores as image_scores,
    paired_intervals as paired_intervals,
    rank_correlation as rank_correlation,
)
from .uncertainty import (
    Entropy as Entropy,
    entropy_split as entropy_split,
    marginal_gains as marginal_gains,
    ood_auroc as ood_auroc,
    ood_scores as ood_scores,
    swap_gains as swap_gains,
)
