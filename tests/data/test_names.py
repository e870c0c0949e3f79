from __future__ import annotations

import pytest

from nni_hypens.data.names import ood_names
from nni_hypens.errors import InputError


def test_names() -> None:
    assert ood_names("none", "digits") == []
    assert ood_names("auto", "digits") == ["noise", "fashion_mnist"]
    assert ood_names("auto", "fashion_mnist") == ["noise", "digits"]
    assert ood_names("auto", "cifar10") == ood_names("auto", None) == ["noise"]
    assert ood_names("noise, a/b.npz,noise", "digits") == ["noise", "a/b.npz"]
    with pytest.raises(InputError, match="ood: got 'svhn'"):
        ood_names("noise,svhn", "digits")
    with pytest.raises(InputError, match="ood: got 'digits'; expected a set other"):
        ood_names("digits", "digits")
