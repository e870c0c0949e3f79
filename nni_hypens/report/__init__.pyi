from .cells import (
    plot_cells as plot_cells,
)
from .content import (
    RunContent as RunContent,
    read_run as read_run,
)
from .page import (
    write_report as write_report,
)
