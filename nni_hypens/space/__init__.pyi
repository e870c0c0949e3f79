from .architecture import (
    ChoiceTable as ChoiceTable,
)
from .architecture import (
    EdgeGroup as EdgeGroup,
)
from .architecture import (
    EdgeStructure as EdgeStructure,
)
from .architecture import (
    load_sample as load_sample,
)
from .build import (
    describe_space as describe_space,
)
from .build import (
    find_object as find_object,
)
from .build import (
    fixed_network as fixed_network,
)
from .build import (
    fresh as fresh,
)
from .build import (
    hub_spaces as hub_spaces,
)
from .cost import (
    Budget as Budget,
)
from .cost import (
    Cost as Cost,
)
from .cost import (
    NetworkSize as NetworkSize,
)
from .cost import (
    budget_for as budget_for,
)
from .cost import (
    check_limits as check_limits,
)
from .cost import (
    count_flops as count_flops,
)
from .cost import (
    measure_latency as measure_latency,
)
from .draws import (
    ChoiceLayout as ChoiceLayout,
)
from .draws import (
    PathDraw as PathDraw,
)
from .draws import (
    by_size as by_size,
)
from .draws import (
    diverse_start as diverse_start,
)
from .draws import (
    draw_paths as draw_paths,
)
from .draws import (
    gumbel as gumbel,
)
from .draws import (
    inclusion_probabilities as inclusion_probabilities,
)
from .draws import (
    neighbours as neighbours,
)
from .draws import (
    random_architectures as random_architectures,
)
from .draws import (
    relaxed_choice as relaxed_choice,
)
from .known_results import (
    KnownResults as KnownResults,
)
from .known_results import (
    known_ranking as known_ranking,
)
from .known_results import (
    known_values as known_values,
)
from .known_results import (
    nasbench201_labels as nasbench201_labels,
)
from .known_results import (
    nasbench201_sample as nasbench201_sample,
)
from .known_results import (
    nasbench201_string as nasbench201_string,
)
