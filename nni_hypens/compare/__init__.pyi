from .bench import (
    Network as Network,
    Workbench as Workbench,
)
from .blocks import (
    Block as Block,
    MethodCost as MethodCost,
    MethodDifference as MethodDifference,
    MethodScore as MethodScore,
    comparison_blocks as comparison_blocks,
    title_of as title_of,
)
from .comparison import (
    Comparison as Comparison,
    cell_name as cell_name,
    check_folder as check_folder,
    run_cell as run_cell,
    run_comparison as run_comparison,
    write_results as write_results,
)
from .method import (
    Bench as Bench,
    Method as Method,
    Trained as Trained,
    replicas as replicas,
    train_within_budget as train_within_budget,
)
from .methods import (
    METHODS as METHODS,
    method_of as method_of,
)
from .outcomes import (
    outcome as outcome,
)
from .pool import (
    Pool as Pool,
)
from .pool_bench import (
    PoolBench as PoolBench,
    PooledNetworks as PooledNetworks,
)
from .pool_comparison import (
    PoolComparison as PoolComparison,
    run_pool_comparison as run_pool_comparison,
)
from .results import (
    compared as compared,
    method_table as method_table,
    paired_differences as paired_differences,
    spearman_of as spearman_of,
    spearman_text as spearman_text,
    text_tables as text_tables,
)
