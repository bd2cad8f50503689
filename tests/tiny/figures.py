"""Look into figures: what was drawn, and the colour that a place of an axis has in the picture."""

import numpy as np


def watched(monkeypatch, module):
    """A list in which the figures that the module draws remain."""
    figures, pixels = [], module.pixels
    monkeypatch.setattr(module, "pixels", lambda figure: figures.append(figure) or pixels(figure))
    return figures


def colours_at(picture, axis, across, upward):
    """The darkest of the 3 x 3 pixels around points of an axis."""
    columns, rows = axis.transData.transform(np.stack([across, upward], -1)).astype(int).T
    rows = len(picture) - 1 - rows
    around = [picture[rows + down, columns + right] for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return np.stack(around).min(0)
