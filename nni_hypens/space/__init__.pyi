from .architecture import EdgeGroup as EdgeGroup, EdgeStructure as EdgeStructure
from .build import (
    describe_space as describe_space,
    fixed_network as fixed_network,
    fresh as fresh,
    hub_spaces as hub_spaces,
)
from .choices import ChoiceTable as ChoiceTable, Sample as Sample, load_sample as load_sample
from .cost import (
    Budget as Budget,
    Cost as Cost,
    NetworkSize as NetworkSize,
    count_flops as count_flops,
    measure_latency as measure_latency,
)
from .draws import (
    ChoiceLayout as ChoiceLayout,
    PathDraw as PathDraw,
    draw_paths as draw_paths,
    inclusion_probabilities as inclusion_probabilities,
    neighbours as neighbours,
    random_architectures as random_architectures,
)
from .known_results import KnownResults as KnownResults
from .nasbench201 import nasbench201_sample as nasbench201_sample, nasbench201_string as nasbench201_string
