"""Audio regression: fit some samples, score the others."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from datamodules.common.batch import Scored
from datamodules.grids.audio import Recordings
from inr.metrics.figures import Metric, snr
from inr.supervision.differences import jacobian_at
from tasks.drawing.panels import spectrograms, waveforms
from tasks.evaluation import EvaluatedTask, item_path

PLOTTED = 200_000  # samples of a waveform: more only thicken its line
ZOOM = 0.01  # [s] around the loudest moment, either way
FEWEST = 16  # samples of the zoom, either way


class AudioTask(EvaluatedTask[Recordings]):
    """Fit a sound; figures compare amplitudes, the loudest sample being 1.

    Source: the audio protocol of Sobolev Training for Implicit Neural Representations (ECCV 2022).
    """

    reads = Recordings

    def brightness(self, values: Tensor) -> Tensor:
        """Return the amplitude itself."""
        return values

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """Return the signal-to-noise ratio."""
        meaning = f"signal energy over error energy {self.data.definitions()['psnr']}"
        return {"snr": Metric(snr(shown, truth, scored.masks["psnr"]), "dB", meaning)}

    def draw(self) -> dict[str, np.ndarray]:
        """Draw waveforms and spectrograms of the first sound, and its derivative around the loudest moment."""
        data = self.data
        rate = data.rate
        target = data.truth(0).truth.float()
        result = data.restore(self.items(self.reconstruction)[0])
        samples, stride = len(target), -(-len(target) // PLOTTED)
        time = (np.arange(0, samples, stride) / rate) + data.start
        centre, reach = int(target.abs().amax(-1).argmax()), max(round(ZOOM * rate), FEWEST)
        near = torch.arange(max(centre - reach, 0), min(centre + reach, samples))
        zoom = slice(int(near[0]) // stride, -(-int(near[-1]) // stride) + 1)
        pairs = [(f"{name}, channel 0", one[:, 0].numpy()) for name, one in (("target", target), ("reconstruction", result))]
        pictures = {
            "waveform": waveforms(time, target[::stride].numpy(), result[::stride].numpy(), zoom, "amplitude"),
            "spectrogram": spectrograms(pairs, rate),
        }
        if not data.cut:
            true = jacobian_at(target, near[:, None], data.filter, data.border)[..., 0]
            fitted = self.fitted().jacobian(near[:, None].float())[..., 0]
            moments = near.numpy() / rate + data.start
            pictures["derivatives"] = waveforms(moments, true.numpy(), fitted.numpy(), None, "amplitude per sample")
        return pictures

    def export(self, folder: Path, scale: float) -> None:
        """Write `reconstruction.wav` in 32-bit floats, at `scale` times the file's rate; of several sounds a folder."""
        names = [name.removesuffix(".wav") for name in self.data.names[: len(self.items(self.reconstruction))]]
        rate = max(round(self.data.rate * scale), 1)
        for place in range(len(names)):
            self.save(item_path(folder, "reconstruction", names, place), torch.cat(list(self.rendered(place, scale))), rate)
            observed = self.data.truth(place).observed
            if observed is not None:
                self.save(item_path(folder, "observed", names, place), observed, self.data.rate)

    @staticmethod
    def save(path: Path, sound: Tensor, rate: int) -> None:
        """Write a sound (samples, channels) under a path without its ending."""
        soundfile.write(f"{path}.wav", sound.numpy(), rate, subtype="FLOAT")
