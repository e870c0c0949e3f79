from .calibration import (
    Temperatures as Temperatures,
    apply_temperature as apply_temperature,
    calibrate as calibrate,
    check_temperature as check_temperature,
    combine as combine,
    fit_temperature as fit_temperature,
    temper_members as temper_members,
)
from .export import (
    Exported as Exported,
    check_onnx as check_onnx,
    describe as describe,
    export_ensemble as export_ensemble,
    export_program as export_program,
    quiet as quiet,
)
from .folder import (
    build_network as build_network,
    check_input_spec as check_input_spec,
    encode as encode,
    file_in as file_in,
    installed_versions as installed_versions,
    load_member as load_member,
    read_index as read_index,
    trusted_class as trusted_class,
)
from .module import (
    Ensemble as Ensemble,
    EnsembleInfo as EnsembleInfo,
    evaluation as evaluation,
)
from .predict import (
    Predictor as Predictor,
    ensemble_folder as ensemble_folder,
    open_model as open_model,
    read_images as read_images,
)
