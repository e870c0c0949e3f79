from .costs import (
    cheapest as cheapest,
    check_affordable as check_affordable,
    check_total_limits as check_total_limits,
    choose as choose,
    fronts as fronts,
    total_costs as total_costs,
)
from .limits import (
    CostLimits as CostLimits,
    check_costs as check_costs,
    pareto_front as pareto_front,
)
from .methods import (
    beam as beam,
    check_options as check_options,
    cost_front as cost_front,
    exhaustive as exhaustive,
    greedy as greedy,
    select as select,
    top_k as top_k,
)
from .names import (
    METHODS as METHODS,
    OBJECTIVES as OBJECTIVES,
    check_combinations as check_combinations,
)
from .scorers import (
    CountScorer as CountScorer,
    Quadratic as Quadratic,
    Scorer as Scorer,
    combination_rows as combination_rows,
    make_scorer as make_scorer,
)
from .task import (
    Diverse as Diverse,
    Selection as Selection,
    Task as Task,
    check_pool as check_pool,
    first_best as first_best,
)
