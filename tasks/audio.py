"""Audio regression: fit some samples, score the others."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from datamodules.common.batch import Scored
from inr.baselines.interpolation import linear, nearest, spline
from inr.metrics.figures import Metric, snr
from inr.supervision.differences import jacobian_at
from tasks.drawing.panels import spectrograms, waveforms
from tasks.evaluation import GridTask

PLOTTED = 200_000
ZOOM = 0.01


class AudioTask(GridTask):
    """Fit a sound; figures compare amplitudes, the loudest sample being 1.

    Source: the audio protocol of Sobolev Training for Implicit Neural Representations (ECCV 2022).
    """

    methods = {"nearest": nearest, "linear": linear, "spline": spline}

    def brightness(self, values: Tensor) -> Tensor:
        """The amplitude itself."""
        return values

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """Signal-to-noise ratio."""
        meaning = f"signal energy over error energy {self.data.meanings()['psnr']}"
        return {"snr": Metric(snr(shown, truth, scored.masks["psnr"]), "dB", meaning)}

    def draw(self) -> dict[str, np.ndarray]:
        """Waveforms and spectrograms of the first sound, and its derivative around the loudest moment."""
        data, rate = self.data, self.data.rate
        target = data.scored(0).truth.float()
        result = data.restore(self.images(self.reconstruction)[0])
        samples, unit = len(target), "amplitude"
        stride = -(-samples // PLOTTED)
        time = (np.arange(0, samples, stride) / rate) + data.start
        centre = int(target.abs().amax(-1).argmax())
        reach = max(round(ZOOM * rate), 16)
        near = torch.arange(max(centre - reach, 0), min(centre + reach, samples))
        zoom = slice(int(near[0]) // stride, -(-int(near[-1]) // stride) + 1)
        pairs = [
            (f"{name}, channel 0", signal[:, 0].numpy()) for name, signal in (("target", target), ("reconstruction", result))
        ]
        pictures = {
            "waveform": waveforms(time, target[::stride].numpy(), result[::stride].numpy(), zoom, unit),
            "spectrogram": spectrograms(pairs, rate),
        }
        if samples == data.size:  # not cut into patches
            true = jacobian_at(target, near[:, None], data.filter, data.border)[..., 0]
            fitted = self.fitted().jacobian(near[:, None].float())[..., 0]
            moments = near.numpy() / rate + data.start
            pictures["derivatives"] = waveforms(moments, true.numpy(), fitted.numpy(), None, "amplitude per sample")
        return pictures

    def export(self, folder: Path, scale: float) -> None:
        """`reconstruction.wav` in 32-bit floats, at `scale` times the file's rate; of several sounds a folder."""
        places = range(len(self.images(self.reconstruction)))
        for place in places:
            scored = self.data.scored(place)
            name = f"/{scored.name.removesuffix('.wav')}" if len(places) > 1 else ""
            rate = max(round(self.data.rate * scale), 1)
            self.save(folder / f"reconstruction{name}.wav", torch.cat(list(self.rendered(place, scale))), rate)
            if scored.observed is not None:
                self.save(folder / f"observed{name}.wav", scored.observed, self.data.rate)

    @staticmethod
    def save(path: Path, sound: Tensor, rate: int) -> None:
        """A sound (samples, channels) as a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(str(path), sound.numpy(), rate, subtype="FLOAT")
