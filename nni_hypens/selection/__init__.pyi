from .dispatch import (
    check_options as check_options,
    select as select,
)
from .methods import (
    beam as beam,
    exhaustive as exhaustive,
    greedy as greedy,
    top_k as top_k,
)
from .names import (
    BEAM_WIDTH as BEAM_WIDTH,
    DIVERSITY_WEIGHT as DIVERSITY_WEIGHT,
    METHODS as METHODS,
    OBJECTIVES as OBJECTIVES,
)
from .pareto import (
    cost_front as cost_front,
    pareto_front as pareto_front,
)
from .task import (
    Selection as Selection,
)
