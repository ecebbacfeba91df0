import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cruor.preprocessing.windows import WINDOWS_HU, apply_window, stack_windows

SLICES = arrays(np.int16, (3, 4), elements=st.integers(-3024, 4000))


def test_the_windows_are_exactly_the_papers():
    assert WINDOWS_HU == ((0, 80), (-20, 180), (-150, 230))


def test_bounds_become_zero_and_one_and_the_middle_one_half():
    for low, high in WINDOWS_HU:
        ends = np.array([low - 1, low, (low + high) // 2, high, high + 1], dtype=np.int16)
        np.testing.assert_array_equal(apply_window(ends, (low, high)), np.float32([0, 0, 0.5, 1, 1]))


@given(SLICES)
def test_a_window_never_leaves_zero_to_one_and_keeps_the_order_of_hu(hu):
    for window in WINDOWS_HU:
        shown = apply_window(hu, window)
        assert shown.dtype == np.float32
        assert shown.min() >= 0
        assert shown.max() <= 1
        ranked = np.argsort(hu, axis=None, kind="stable")
        assert (np.diff(shown.ravel()[ranked]) >= 0).all()


@given(SLICES)
def test_stacking_puts_each_window_into_its_channel(hu):
    stacked = stack_windows(hu)
    assert stacked.shape == (3, 3, 4)
    for channel, window in zip(stacked, WINDOWS_HU, strict=True):
        np.testing.assert_array_equal(channel, apply_window(hu, window))
