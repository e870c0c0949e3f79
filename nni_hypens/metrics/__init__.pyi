from .scores import (
    Reliability as Reliability,
    accuracy as accuracy,
    aurc as aurc,
    brier as brier,
    check_labels as check_labels,
    check_probabilities as check_probabilities,
    disagreement as disagreement,
    ece as ece,
    nll as nll,
    nll_of_each as nll_of_each,
    oracle_accuracy as oracle_accuracy,
    pairwise_disagreement as pairwise_disagreement,
    reliability as reliability,
    summary as summary,
)
from .statistics import (
    image_scores as image_scores,
    mean_scores as mean_scores,
    paired_intervals as paired_intervals,
    rank_correlation as rank_correlation,
    resampled_means as resampled_means,
)
from .uncertainty import (
    Entropy as Entropy,
    contributions as contributions,
    entropy_split as entropy_split,
    marginal_gains as marginal_gains,
    ood_auroc as ood_auroc,
    ood_scores as ood_scores,
    swap_gains as swap_gains,
    without as without,
)
