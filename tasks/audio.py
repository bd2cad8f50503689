"""Audio regression: fit some samples, score the others."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from inr.interpolation import linear, nearest, spline
from inr.metrics import Metric, snr
from tasks.grid import GridTask
from tasks.pictures import spectrograms, waveforms

PLOTTED = 200_000
ZOOM = 0.01


class AudioTask(GridTask):
    """Fit a sound; figures compare amplitudes, the loudest sample being 1.

    Source: the audio protocol of Sobolev Training for Implicit Neural Representations (ECCV 2022).
    """

    references = {"nearest": nearest, "linear": linear, "spline": spline}

    def brightness(self, values: Tensor) -> Tensor:
        """The amplitude itself."""
        return values

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor) -> dict[str, Metric]:
        """Signal-to-noise ratio."""
        meaning = f"signal energy over error energy {self.meanings()['psnr']}"
        return {"snr": Metric(snr(shown, truth, self.data.unseen()), "dB", meaning)}

    def draw(self) -> dict[str, np.ndarray]:
        """Waveforms, spectrograms, and the derivative by the sample index around the loudest moment."""
        data, rate = self.data, self.data.rate
        target, result = data.samples.float(), data.restore(self.reconstruction)
        stride = -(-data.size // PLOTTED)
        time = (np.arange(0, data.size, stride) / rate) + data.start
        centre = int(target.abs().amax(-1).argmax())
        reach = max(round(ZOOM * rate), 16)
        near = torch.arange(max(centre - reach, 0), min(centre + reach, data.size))
        zoom = slice(int(near[0]) // stride, -(-int(near[-1]) // stride) + 1)
        unit = "amplitude"
        indices = near[:, None]
        true = data.target_jacobian(indices)[..., 0] * data.units.scale
        fitted = self.fitted().jacobian(indices.float())[..., 0]
        moments = near.numpy() / rate + data.start
        pairs = [
            (f"{name}, channel 0", signal[:, 0].numpy()) for name, signal in (("target", target), ("reconstruction", result))
        ]
        return {
            "waveform": waveforms(time, target[::stride].numpy(), result[::stride].numpy(), zoom, unit),
            "spectrogram": spectrograms(pairs, rate),
            "derivatives": waveforms(moments, true.numpy(), fitted.numpy(), None, "amplitude per sample"),
        }

    def export(self, folder: Path, scale: float) -> None:
        """`reconstruction.wav` in 32-bit floats, at `scale` times the file's rate."""
        slabs = self.rendered(scale)
        rate = max(round(self.data.rate * scale), 1)
        sound = np.concatenate([slab.numpy() for slab in slabs])
        soundfile.write(str(folder / "reconstruction.wav"), sound, rate, subtype="FLOAT")
