"""Exact sinograms of a head, as parallel beams or a fan see it."""

import numpy as np

from datamodules.scans.phantoms import line_integrals, random_phantom

DEGREES = np.arange(90) * 2.0
WIDTH = 0.04  # of a bin [half-widths of the slice]; the head reaches to 1, 25 bins from the axis
SEEN = 10.0  # integrals per those of the head


def sinogram(bins=64, degrees=DEGREES, centre=None, per_bin=0.0, source=3.0):
    """Line integrals (bins, views) of a head; the axis in the middle of the detector unless `centre` says where.

    per_bin: tangent of the angle between the rays of a fan to neighbouring bins; 0: parallel beams.
    """
    places = np.arange(bins)[:, None] - ((bins - 1) / 2 if centre is None else centre)
    tilt = np.arctan(per_bin * places)
    offset = source * np.sin(tilt) if per_bin else WIDTH * places
    return SEEN * line_integrals(random_phantom(3, 1), offset, np.deg2rad(degrees) + tilt)
