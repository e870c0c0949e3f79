from .arrays import (
    ImageBatches as ImageBatches,
    as_batch as as_batch,
    channel_statistics as channel_statistics,
    check_arrays as check_arrays,
    normalise as normalise,
    random_crop as random_crop,
    read_idx as read_idx,
    stratified_subset as stratified_subset,
)
from .corruptions import (
    corrupt as corrupt,
)
from .module import (
    ImageData as ImageData,
    LabelledData as LabelledData,
    Loaders as Loaders,
)
from .names import (
    ood_names as ood_names,
)
from .ood import (
    check_ood as check_ood,
    fit_images as fit_images,
    ood_images as ood_images,
    read_ood as read_ood,
)
from .sources import (
    Cifar as Cifar,
    Digits as Digits,
    FashionMnist as FashionMnist,
    FromCallable as FromCallable,
    Npz as Npz,
    Source as Source,
    cache_folder as cache_folder,
    open_source as open_source,
)
