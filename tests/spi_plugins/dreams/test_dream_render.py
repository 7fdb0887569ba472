import sys

import numpy as np

from spi_plugins.dreams.render import draw_dream


def drawn(curves):
    return draw_dream(np.zeros(4, np.float32), (-1.0, 1.0), None, curves)


def test_labels_name_the_parts_and_the_last_reward_and_cost(monkeypatch):
    curves = [np.float32([np.nan, 1.0]), np.float32([np.nan, 0.0])]
    frame = drawn(curves)
    assert (frame[:16] < 150).any()
    other = drawn([curves[0] + 1.0, curves[1]])
    assert (frame != other).any(axis=(1, 2)).sum() <= 16  # the label: bars are scaled to their range
    monkeypatch.setitem(sys.modules, "PIL", None)
    bare = drawn(curves)
    assert bare.shape == frame.shape
    assert not (bare[:16] < 150).any()
