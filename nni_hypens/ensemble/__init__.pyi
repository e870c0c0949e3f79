from .calibration import (
    Temperatures as Temperatures,
)
from .calibration import (
    apply_temperature as apply_temperature,
)
from .calibration import (
    calibrate as calibrate,
)
from .calibration import (
    check_temperature as check_temperature,
)
from .calibration import (
    combine as combine,
)
from .calibration import (
    fit_temperature as fit_temperature,
)
from .calibration import (
    temper_members as temper_members,
)
from .export import (
    Exported as Exported,
)
from .export import (
    check_onnx as check_onnx,
)
from .export import (
    describe as describe,
)
from .export import (
    export_ensemble as export_ensemble,
)
from .export import (
    export_program as export_program,
)
from .export import (
    quiet as quiet,
)
from .folder import (
    build_network as build_network,
)
from .folder import (
    check_input_spec as check_input_spec,
)
from .folder import (
    encode as encode,
)
from .folder import (
    file_in as file_in,
)
from .folder import (
    installed_versions as installed_versions,
)
from .folder import (
    load_member as load_member,
)
from .folder import (
    read_index as read_index,
)
from .folder import (
    trusted_class as trusted_class,
)
from .module import (
    Ensemble as Ensemble,
)
from .module import (
    EnsembleInfo as EnsembleInfo,
)
from .module import (
    evaluation as evaluation,
)
from .predict import (
    Predictor as Predictor,
)
from .predict import (
    ensemble_folder as ensemble_folder,
)
from .predict import (
    open_model as open_model,
)
from .predict import (
    read_images as read_images,
)
