"""Pictures of results: labelled panels, derivative maps, waveforms and spectrograms, as uint8 arrays."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

SMALL = 300  # pixels up to which an image is drawn pixel by pixel, without smoothing
BRIGHTEST = 0.998  # quantile of an error map that is drawn white: a few outliers would leave the rest black
WINDOWS = 1000  # of a spectrogram at most, as a picture has no more columns
WINDOW = 512  # samples of each
RANGE = 90  # [dB] below the loudest that a spectrogram still tells apart
SILENCE = 1e-7  # amplitude added before the logarithm: -140 dB


def pixels(figure: Figure) -> np.ndarray:
    """Draw a figure as an array (rows, columns, 3)."""
    canvas = FigureCanvasAgg(figure)  # pyplot would keep every figure in memory
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def panels(rows: Sequence[Sequence[tuple[str, np.ndarray]]], inches: float = 3.2) -> np.ndarray:
    """Draw titled images (rows, columns, 3) in 0..1, a list per row; one (rows, columns) is an error map with a colour bar."""
    tall, wide = rows[0][0][1].shape[:2]
    height = inches * min(max(tall / wide, 0.3), 3.0) + 0.35  # long strips are squeezed; the rest is the title
    figure = Figure(figsize=(inches * len(rows[0]), height * len(rows)), dpi=120, layout="constrained")
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for axis, (title, image) in zip(axes.flat, itertools.chain(*rows), strict=True):
        top = float(np.quantile(image, BRIGHTEST)) or 1.0  # of colours, matplotlib ignores the range
        smoothing = "nearest" if max(image.shape) < SMALL else None
        picture = axis.imshow(image, cmap="magma", vmin=0, vmax=top, interpolation=smoothing)
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
        if image.ndim == 2:
            figure.colorbar(picture, ax=axis, fraction=0.046, extend="max")
    return pixels(figure)


def direction_map(gradient: np.ndarray, full_scale: float) -> np.ndarray:
    """Colour a gradient field: hue is the direction, red to the right and on clockwise, brightness the magnitude.

    Shapes: gradient (rows, columns, 2) along rows and columns -> (rows, columns, 3) in 0..1, full at `full_scale`.
    """
    down, right = gradient[..., 0], gradient[..., 1]
    hue = (np.arctan2(down, right) / (2 * np.pi)) % 1.0
    magnitude = np.hypot(down, right) / max(full_scale, 1e-12)  # a constant image has nothing to divide by
    return hsv_to_rgb(np.stack([hue, np.ones_like(hue), magnitude.clip(0, 1)], -1))


def waveforms(time: np.ndarray, target: np.ndarray, prediction: np.ndarray, zoom: slice | None, unit: str) -> np.ndarray:
    """Draw target, prediction (samples, channels) and error over time (samples,) [s], whole and zoomed in, by channel."""
    channels = target.shape[1]
    views = [slice(None), *([] if zoom is None else [zoom])]
    figure = Figure(figsize=(9 * channels, 2.3 * (len(views) + 1)), dpi=110, layout="constrained")
    axes = figure.subplots(len(views) + 1, channels, squeeze=False)
    for channel in range(channels):
        for axis, part in zip(axes[:, channel], views, strict=False):
            axis.plot(time[part], target[part, channel], label="target", color="0.6", linewidth=1.5)
            axis.plot(time[part], prediction[part, channel], label="reconstruction", color="C0", linewidth=0.7)
            axis.set_ylabel(unit, fontsize=8)
        error = axes[-1, channel]
        error.plot(time, prediction[:, channel] - target[:, channel], color="C3", linewidth=0.5)
        error.set_ylabel(f"error, {unit}", fontsize=8)
        error.set_xlabel("time [s]")
        axes[0, channel].set_title(f"channel {channel}", fontsize=9)
        axes[0, channel].legend(loc="upper right", fontsize=8)
    return pixels(figure)


def power(signal: np.ndarray, window: int) -> np.ndarray:
    """Measure the power [dB] by frequency and time in windows at even distances over a signal (samples,).

    Windows overlap by half, as each fades out at its ends; of a long signal, samples between them are left out. This is why
    scipy's, whose windows follow one another, is not used: minutes of sound would give more columns than can be drawn.
    Shapes: (frequencies, windows), frequencies from 0 to half the sampling rate.
    """
    count = min(max(2 * len(signal) // window, 1), WINDOWS)
    starts = np.linspace(0, len(signal) - window, count).astype(int)
    excerpts = signal[starts[:, None] + np.arange(window)] * np.hanning(window)
    return 20 * np.log10(np.abs(np.fft.rfft(excerpts)).T / window + SILENCE)


def spectrograms(signals: Sequence[tuple[str, np.ndarray]], rate: float) -> np.ndarray:
    """Draw power [dB] over time and frequency, the same colours for all titled signals (samples,); rate in samples / s."""
    figure = Figure(figsize=(6 * len(signals), 4), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(signals), squeeze=False)[0]
    samples = len(signals[0][1])
    decibels = [power(signal, min(WINDOW, samples)) for _, signal in signals]
    top = float(decibels[0].max())
    extent = (0.0, samples / rate, 0.0, rate / 2)
    for axis, (title, _), level in zip(axes, signals, decibels, strict=True):
        picture = axis.imshow(level, vmin=top - RANGE, vmax=top, cmap="magma", origin="lower", aspect="auto", extent=extent)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("time [s]")
        axis.set_ylabel("frequency [Hz]")
    figure.colorbar(picture, ax=list(axes), label="power [dB]")
    return pixels(figure)
