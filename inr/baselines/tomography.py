"""Classical reconstructions of a slice from its sinogram: what a network has to beat."""

# skimage's iradon inverts one slice of parallel, even views about the middle of a square; scanners have fans, uneven angles
# and axes of their own. Its SART is taken as it is.

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import map_coordinates
from skimage.transform import iradon_sart
from torch import Tensor

from inr.convex.problem import Problem
from inr.convex.total_variation import TotalVariation
from inr.errors import InputError
from inr.measurements.observation_matrix import observation_matrix
from inr.measurements.radon import LineIntegrals, Pixels
from inr.networks.spline import Spline

TURN = 2 * math.pi
SAME = 1e-6  # of the period: angles closer than this are one direction, float32 or not
HOLE = 3.0  # times the ordinary step: a longer one was not scanned
SHORTEST = 64  # samples of the padded detector

WINDOWS: dict[str, Callable[[Tensor], Tensor]] = {  # by frequency, in cycles per bin
    "ramp": torch.ones_like,
    "shepp-logan": torch.sinc,
    "cosine": lambda frequency: (math.pi * frequency).cos(),
    "hamming": lambda frequency: 0.54 + 0.46 * (TURN * frequency).cos(),
    "hann": lambda frequency: 0.5 + 0.5 * (TURN * frequency).cos(),
}


def view_weights(angles: Float[Tensor, " views"], period: float) -> Float[Tensor, " views"]:
    """Return the angle that each view stands for: half the way to both its neighbours on a circle.

    Views of one direction share its weight. A step over three times as long as nine in ten others is a hole of the scan and
    counts as an ordinary step, so that its edges are not stressed; the sum is the angle that was scanned.
    """
    # The integral over the angle by the trapezoidal rule on uneven nodes: weight k = (step to k + step from k) / 2.
    ordered, order = (angles.double() % period).sort()
    steps = ordered - ordered.roll(1)
    steps[0] += period
    fresh = steps > SAME * period  # the first view of each direction
    direction = fresh.cumsum(0) % fresh.sum()  # the last is the first again if they meet at the end of the circle
    steps = steps[fresh]
    ordinary = steps.quantile(0.9, interpolation="lower")  # not the median: a coarser part of a scan is no hole
    steps = steps.where(steps <= HOLE * ordinary, ordinary)
    shares = (steps + steps.roll(1)) / 2 / direction.bincount()
    weights = torch.empty_like(ordered)
    weights[order] = shares[direction]
    return weights


def pixel_offsets(shape: Sequence[int], pivot: Sequence[float]) -> list[Float[Tensor, " pixels"]]:
    """Return how many pixels every pixel of a slice lies below the axis and to the right of it, row by row."""
    sides = [torch.arange(size, dtype=torch.float64) - place for size, place in zip(shape, pivot, strict=True)]
    return [side.flatten() for side in torch.meshgrid(*sides, indexing="ij")]


def ramp_filtered(sinogram: Float[Tensor, "signals bins views"], bin_width: float, window: str) -> Tensor:
    """Convolve every view with the band-limited ramp, whose spectrum is shaped by a window."""
    bins = sinogram.shape[1]
    size = max(SHORTEST, 1 << (2 * bins - 1).bit_length())  # no bin meets the other end of the detector
    offsets = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64, device=sinogram.device)
    # The ramp |f| up to half a cycle per bin, transformed: 1/4 at 0, -1 / (pi n)^2 at odd n, 0 at even n. Sampled in space
    # and not in frequency, where |0| = 0 would take the mean away from every slice.
    kernel = torch.where(offsets % 2 == 1, -1 / (math.pi * offsets).square(), 0.0)
    kernel[0] = 0.25
    response = torch.fft.rfft(kernel).real * WINDOWS[window](offsets[: size // 2 + 1].abs() / size) / bin_width
    return torch.fft.irfft(torch.fft.rfft(sinogram, size, 1) * response[:, None], size, 1)[:, :bins]


def along_bins(profiles: Float[Tensor, "signals bins"], places: Float[Tensor, " pixels"]) -> Float[Tensor, "signals pixels"]:
    """Read profiles between their bins by straight lines, and zero beyond the outer edges of the outer bins."""
    last = profiles.shape[1] - 1
    seen = (places >= -0.5) & (places <= last + 0.5)
    places = places.clamp(0, last)
    below = places.long()
    fraction = places - below
    return profiles[:, below] * ((1 - fraction) * seen) + profiles[:, (below + 1).clamp(max=last)] * (fraction * seen)


def filtered_back_projection(
    sinogram: Float[Tensor, "signals bins views"],
    angles: Float[Tensor, " views"],
    shape: Sequence[int],
    pivot: Sequence[float],
    pixel: float,
    bin_width: float,
    centre: float,
    window: str = "ramp",
    source: float | None = None,
    detector: float = 0.0,
) -> Float[Tensor, "signals rows columns"]:
    """Invert sinograms by filtered back projection: of parallel beams, or of a fan from a `source` to a flat detector.

    A view weighs as much as the angle it stands for, so angles may be uneven, repeat each other or leave a hole. A fan is
    exact over a full turn; over less, lines seen once weigh no more than lines seen twice.
    Units:  angles [rad]; pixel, bin_width, source and detector in one length; pivot [pixels], centre [bins].
    Raises: InputError for an unknown window or a source among the pixels.
    Source: Kak & Slaney, Principles of Computerized Tomographic Imaging (1988), sections 3.3.3 and 3.4.2.
    """
    if window not in WINDOWS:
        raise InputError(f"The window of the ramp filter must be one of {', '.join(WINDOWS)}, got {window}.")
    row, column = (pixel * side.to(sinogram.device) for side in pixel_offsets(shape, pivot))
    reach = float(torch.hypot(row, column).max())
    if source is not None and source <= reach:
        raise InputError(f"The source of a fan must be farther from the axis than any pixel, {reach:.6g}, got {source}.")
    nearness = 0.0 if source is None else 1 / source  # parallel beams come from infinity
    bin_width = bin_width / (1 + detector * nearness)  # as if the detector went through the axis
    bins = torch.arange(sinogram.shape[1], dtype=torch.float64, device=sinogram.device)
    # Per length of a flat detector, a ray that leaves at the angle t counts cos(t) = 1 / hypot(1, offset / source).
    slant = torch.hypot(torch.ones_like(bins), (bins - centre) * bin_width * nearness)
    weights = view_weights(angles.to(bins), math.pi if source is None else TURN)
    weights *= math.pi / weights.sum().clamp(min=math.pi)  # a full turn sees every line twice
    profiles = ramp_filtered(sinogram.double() / slant[:, None], bin_width, window) * weights
    image = profiles.new_zeros(len(sinogram), len(row))
    for profile, angle in zip(profiles.unbind(-1), angles.tolist(), strict=True):
        sine, cosine = math.sin(angle), math.cos(angle)
        depth = 1 + nearness * (column * sine + row * cosine)  # of the pixel from the source, in units of the axis's
        across = (column * cosine - row * sine) / depth
        image += along_bins(profile, across / bin_width + centre) / depth.square()
    return image.reshape(-1, *shape).to(sinogram.dtype)


def sart(
    sinogram: Float[Tensor, "bins views"],
    angles: Float[Tensor, " views"],
    shape: Sequence[int],
    pivot: Sequence[float],
    pixel: float,
    bin_width: float,
    centre: float,
    iterations: int = 3,
    floor: float | None = 0.0,
) -> Float[Tensor, "rows columns"]:
    """Invert a sinogram of parallel beams by the simultaneous algebraic reconstruction technique of scikit-image.

    It is found, with no value below `floor`, on a grid as fine as the bins in the disc around the axis that is as wide as the
    detector, and read from there between its pixels; outside is nothing.
    Units:  angles [rad]; pixel and bin_width in one length; pivot [pixels], centre [bins].
    Source: Andersen & Kak, Simultaneous Algebraic Reconstruction Technique (Ultrasonic Imaging 6, 1984).
    """
    lengths = sinogram.double().cpu().numpy() / bin_width  # skimage's pixels are as wide as bins
    axis = len(sinogram) // 2  # where skimage has it
    theta, shifts = np.rad2deg(angles.double().cpu().numpy()), np.full(len(angles), axis - centre)
    clip = None if floor is None else (floor, np.inf)
    image = np.zeros((len(lengths), len(lengths)))
    for _ in range(iterations):
        image = iradon_sart(lengths, image=image, theta=theta, projection_shifts=shifts, clip=clip)
    places = [(axis + pixel / bin_width * side).numpy() for side in pixel_offsets(shape, pivot)]
    return torch.from_numpy(map_coordinates(image, places, order=1).reshape(shape)).to(sinogram)


def fewest_edges(
    sinograms: Float[Tensor, "signals bins views"],
    beam: LineIntegrals,
    shape: Sequence[int],
    weights: Float[Tensor, "signals bins views"] | None = None,
    solver: TotalVariation | None = None,
) -> Float[Tensor, "signals rows columns"]:
    """Invert sinograms by least squares with total variation, no value below zero, on a grid twice as fine as the pixels.

    beam: takes a field to observations at (bin, view), the longest side of the slice being [-1, 1].
    weights: of the rays, such as the photons that they counted; None: all alike.
    solver: by default one that finds the weight of the total variation by cross-validation.
    Source: Sidky & Pan, Image reconstruction in circular cone-beam computed tomography by constrained, total-variation
            minimization (2008).
    """
    field = Spline(2, 1, [max(shape)] * 2, "linear", fineness=2.0)  # every second node is the centre of a pixel
    pixels = Pixels(shape, beam.region, beam.pivot.tolist(), beam.width)
    rays, places = (
        torch.cartesian_prod(*(torch.arange(size, dtype=torch.float32) for size in sizes))[None]
        for sizes in (sinograms.shape[1:], shape)
    )
    matrix = observation_matrix(field, beam.resolving(field.spacing), rays)
    equal = torch.ones(matrix.shape[0], 1)
    weighted = equal if weights is None else weights.flatten(1).T.float()
    problem = Problem(matrix, sinograms.flatten(1).T.float().contiguous(), weighted.contiguous(), field.lattice)
    solved = (solver or TotalVariation(lower=0.0)).coefficients(problem).coefficients
    seen = observation_matrix(field, pixels.resolving(field.spacing), places)(solved)
    return seen.T.reshape(-1, *shape).to(sinograms)


def to_parallel(
    sinogram: Float[Tensor, "bins views"], angles: Tensor, bin_width: float, centre: float, source: float, detector: float
) -> tuple[Float[Tensor, "bins parallel"], Float[Tensor, " parallel"], float, float]:
    """Rebin a full turn of a fan: sinogram, angles, bin width and centre of parallel beams over half a turn.

    Each line is read between bins and views both ways along it; where neither hits the detector there is zero. Bins are as
    wide as the fan's at the axis, and views as many as it has in half a turn.
    Units:  angles [rad]; bin_width, source and detector in one length; centre [bins].
    Raises: InputError for less than a full turn.
    Source: Kak & Slaney, Principles of Computerized Tomographic Imaging (1988), section 3.4.3.
    """
    scanned = float(view_weights(angles, TURN).sum())
    if scanned < (1 - SAME) * TURN:
        raise InputError(f"A fan becomes parallel beams only over a full turn, got {math.degrees(scanned):.4g} degrees of it.")
    turn, first = np.unique(angles.double().cpu().numpy() % TURN, return_index=True)
    views = np.concatenate([[turn[-1] - TURN], turn, [turn[0] + TURN]])  # a view more at either end closes the circle
    values = sinogram.double().cpu().numpy()[:, np.concatenate([first[-1:], first, first[:1]])]
    bins = np.arange(len(sinogram))
    width = bin_width * source / (source + detector)
    fan = RegularGridInterpolator((bins, views), values, bounds_error=False, fill_value=np.nan)
    parallel = np.arange((len(turn) + 1) // 2) * math.pi / ((len(turn) + 1) // 2)
    # The ray that leaves the source at the angle t runs at the distance source x sin(t) from the axis, in the direction of
    # view + t, and meets the detector at (source + detector) tan(t); read backward, it comes from view - t + half a turn.
    tilt = np.arcsin(((bins[:, None] - centre) * width / source).clip(-1, 1))
    place = (source + detector) * np.tan(tilt) / bin_width
    both = np.stack(
        [fan((centre + place, (parallel - tilt) % TURN)), fan((centre - place, (parallel + tilt + math.pi) % TURN))]
    )
    mean = np.nan_to_num(both).sum(0) / np.isfinite(both).sum(0).clip(1)
    return torch.from_numpy(mean).to(sinogram), torch.from_numpy(parallel).to(angles), width, centre
