"""What tests of NNI's ENAS need: packages that are not always installed."""

from __future__ import annotations

import pytest

from nni_hypens.compare.enas import has_tianshou

needs_tianshou = pytest.mark.skipif(
    not has_tianshou(), reason="tianshou is not installed: pip install 'nni-hypens[enas]'"
)
