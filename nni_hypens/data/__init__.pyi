from .arrays import (
    ImageBatches as ImageBatches,
)
from .arrays import (
    as_batch as as_batch,
)
from .arrays import (
    channel_statistics as channel_statistics,
)
from .arrays import (
    check_arrays as check_arrays,
)
from .arrays import (
    normalise as normalise,
)
from .arrays import (
    random_crop as random_crop,
)
from .arrays import (
    read_idx as read_idx,
)
from .arrays import (
    stratified_subset as stratified_subset,
)
from .corruptions import (
    corrupt as corrupt,
)
from .module import (
    ImageData as ImageData,
)
from .module import (
    LabelledData as LabelledData,
)
from .module import (
    Loaders as Loaders,
)
from .ood import (
    check_ood as check_ood,
)
from .ood import (
    fit_images as fit_images,
)
from .ood import (
    ood_images as ood_images,
)
from .ood import (
    ood_names as ood_names,
)
from .ood import (
    read_ood as read_ood,
)
from .sources import (
    Cifar as Cifar,
)
from .sources import (
    Digits as Digits,
)
from .sources import (
    FashionMnist as FashionMnist,
)
from .sources import (
    FromCallable as FromCallable,
)
from .sources import (
    Npz as Npz,
)
from .sources import (
    Source as Source,
)
from .sources import (
    cache_folder as cache_folder,
)
from .sources import (
    open_source as open_source,
)
