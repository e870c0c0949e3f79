from .calibration import (
    Combination as Combination,
    apply_temperature as apply_temperature,
    calibrate as calibrate,
    combine as combine,
    fit_temperature as fit_temperature,
)
from .conformal import (
    Conformal as Conformal,
    fit_conformal as fit_conformal,
)
from .export import (
    Exported as Exported,
    export_ensemble as export_ensemble,
)
from .info import (
    EnsembleInfo as EnsembleInfo,
)
from .module import (
    Ensemble as Ensemble,
    evaluation as evaluation,
)
from .names import (
    CALIBRATIONS as CALIBRATIONS,
    FORMATS as FORMATS,
    POOLINGS as POOLINGS,
)
from .predict import (
    Predictor as Predictor,
    open_model as open_model,
)
from .reading import (
    read_inputs as read_inputs,
)
from .weighting import (
    fit_weights as fit_weights,
)
