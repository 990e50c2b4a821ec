"""Learning-rate schedules: end points, monotone decrease, formulas."""

import jax
import numpy as np
import pytest

from jaxsched.core import UnknownNameError
from jaxsched.training import SCHEDULES, make_schedule


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_starts_at_the_peak_and_never_rises(name):
    values = jax.vmap(make_schedule(name, 0.3, 50))(np.arange(51))
    assert np.isclose(values[0], 0.3)
    assert (np.diff(values) <= 1e-7).all()
    assert np.isclose(values[-1], 0.3 if name == "constant" else 0.0, atol=1e-7)


def test_rex_formula():
    # z = 1/2: (1 - z) / (1 - z / 2) = 2/3
    assert np.isclose(make_schedule("rex", 1.0, 10)(5), 2 / 3)


def test_rex_lies_above_linear():
    assert make_schedule("rex", 1.0, 10)(7) > make_schedule("linear", 1.0, 10)(7)


def test_unknown_schedule_names_the_close_one():
    with pytest.raises(UnknownNameError, match="did you mean cosine"):
        make_schedule("cosin", 1.0, 10)
