"""Pictures of results: labelled panels, derivative maps, waveforms and spectrograms, as uint8 arrays."""

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

INTERPOLATION = {True: "nearest", False: None}  # small images show their pixels


def rasterise(figure: Figure) -> np.ndarray:
    """A figure as an array (rows, columns, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def panels(rows: Sequence[Sequence[tuple[str, np.ndarray]]], inches: float = 3.2) -> np.ndarray:
    """Images with titles side by side, one list per row; an image of one channel is an error map with a colour bar.

    Shapes: images (rows, columns, 3) in 0..1, or (rows, columns).
    """
    height = inches * min(max(rows[0][0][1].shape[0] / rows[0][0][1].shape[1], 0.3), 3.0) + 0.35
    figure = Figure(figsize=(inches * len(rows[0]), height * len(rows)), dpi=120, layout="constrained")
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for line, images in zip(axes, rows, strict=True):
        for axis, (title, image) in zip(line, images, strict=True):
            top = float(np.quantile(image, 0.998)) or 1.0
            shown = axis.imshow(image, cmap="magma", vmin=0, vmax=top, interpolation=INTERPOLATION[max(image.shape) < 300])
            axis.set_title(title, fontsize=9)
            axis.set_axis_off()
            if image.ndim == 2:
                figure.colorbar(shown, ax=axis, fraction=0.046, extend="max")
    return rasterise(figure)


def direction_map(gradient: np.ndarray, full_scale: float) -> np.ndarray:
    """A gradient field as colours: hue is the direction, brightness the magnitude, full at `full_scale`.

    Shapes: gradient (rows, columns, 2) along rows and columns -> (rows, columns, 3) in 0..1.
    """
    down, right = gradient[..., 0], gradient[..., 1]
    hue = (np.arctan2(down, right) / (2 * np.pi)) % 1.0
    magnitude = np.hypot(down, right) / max(full_scale, 1e-12)
    return hsv_to_rgb(np.stack([hue, np.ones_like(hue), magnitude.clip(0, 1)], -1))


def waveforms(time: np.ndarray, target: np.ndarray, prediction: np.ndarray, zoom: slice | None, unit: str) -> np.ndarray:
    """Target, prediction and error over time [s], whole and zoomed in, one column of plots per channel.

    Shapes: time (samples,), target and prediction (samples, channels).
    """
    channels, views = target.shape[1], [slice(None), *([] if zoom is None else [zoom])]
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
    return rasterise(figure)


def power(signal: np.ndarray, window: int) -> np.ndarray:
    """Power [dB] by frequency and time of at most 1,000 windows, spread evenly over a signal (samples,)."""
    count = min(max(2 * len(signal) // window, 1), 1000)
    starts = np.linspace(0, len(signal) - window, count).astype(int)
    frames = signal[starts[:, None] + np.arange(window)] * np.hanning(window)
    return 20 * np.log10(np.abs(np.fft.rfft(frames)).T / window + 1e-7)


def spectrograms(signals: Sequence[tuple[str, np.ndarray]], rate: float) -> np.ndarray:
    """Power over time and frequency [dB], the same colours for all.

    Shapes: signals (samples,) with a title each.
    """
    figure = Figure(figsize=(6 * len(signals), 4), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(signals), squeeze=False)[0]
    samples = len(signals[0][1])
    decibels = [power(signal, min(512, samples)) for _, signal in signals]
    top = float(decibels[0].max())
    extent = (0.0, samples / rate, 0.0, rate / 2)
    for axis, (title, _), level in zip(axes, signals, decibels, strict=True):
        shown = axis.imshow(level, vmin=top - 90, vmax=top, cmap="magma", origin="lower", aspect="auto", extent=extent)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("time [s]")
        axis.set_ylabel("frequency [Hz]")
    figure.colorbar(shown, ax=list(axes), label="power [dB]")
    return rasterise(figure)
