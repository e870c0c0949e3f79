from .costs import (
    cheapest as cheapest,
)
from .costs import (
    check_affordable as check_affordable,
)
from .costs import (
    check_total_limits as check_total_limits,
)
from .costs import (
    choose as choose,
)
from .costs import (
    fronts as fronts,
)
from .costs import (
    total_costs as total_costs,
)
from .limits import (
    CostLimits as CostLimits,
)
from .limits import (
    check_costs as check_costs,
)
from .limits import (
    pareto_front as pareto_front,
)
from .methods import (
    METHODS as METHODS,
)
from .methods import (
    OBJECTIVES as OBJECTIVES,
)
from .methods import (
    beam as beam,
)
from .methods import (
    check_options as check_options,
)
from .methods import (
    cost_front as cost_front,
)
from .methods import (
    exhaustive as exhaustive,
)
from .methods import (
    greedy as greedy,
)
from .methods import (
    select as select,
)
from .methods import (
    top_k as top_k,
)
from .scorers import (
    CountScorer as CountScorer,
)
from .scorers import (
    Quadratic as Quadratic,
)
from .scorers import (
    Scorer as Scorer,
)
from .scorers import (
    combination_rows as combination_rows,
)
from .scorers import (
    make_scorer as make_scorer,
)
from .task import (
    Diverse as Diverse,
)
from .task import (
    Selection as Selection,
)
from .task import (
    Task as Task,
)
from .task import (
    check_combinations as check_combinations,
)
from .task import (
    check_pool as check_pool,
)
from .task import (
    first_best as first_best,
)
