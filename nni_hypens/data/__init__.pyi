from .corruptions import (
    CORRUPTIONS as CORRUPTIONS,
    SEVERITIES as SEVERITIES,
    corrupt as corrupt,
)
from .described import (
    DescribedData as DescribedData,
)
from .module import (
    SPLITS as SPLITS,
    ImageData as ImageData,
)
from .names import (
    NAMED_SETS as NAMED_SETS,
    SOURCE_NAMES as SOURCE_NAMES,
    ood_names as ood_names,
)
from .ood import (
    ood_images as ood_images,
)
from .protocols import (
    LabelledData as LabelledData,
    Loaders as Loaders,
)
