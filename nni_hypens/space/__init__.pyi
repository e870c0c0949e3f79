from .architecture import (
    ChoiceTable as ChoiceTable,
    EdgeGroup as EdgeGroup,
    EdgeStructure as EdgeStructure,
    load_sample as load_sample,
)
from .build import (
    describe_space as describe_space,
    find_object as find_object,
    fixed_network as fixed_network,
    fresh as fresh,
    hub_spaces as hub_spaces,
)
from .cost import (
    Budget as Budget,
    Cost as Cost,
    NetworkSize as NetworkSize,
    budget_for as budget_for,
    check_limits as check_limits,
    count_flops as count_flops,
    measure_latency as measure_latency,
)
from .draws import (
    ChoiceLayout as ChoiceLayout,
    PathDraw as PathDraw,
    by_size as by_size,
    diverse_start as diverse_start,
    draw_paths as draw_paths,
    gumbel as gumbel,
    inclusion_probabilities as inclusion_probabilities,
    neighbours as neighbours,
    random_architectures as random_architectures,
    relaxed_choice as relaxed_choice,
)
from .known_results import (
    KnownResults as KnownResults,
    known_values as known_values,
    nasbench201_labels as nasbench201_labels,
    nasbench201_sample as nasbench201_sample,
    nasbench201_string as nasbench201_string,
)
