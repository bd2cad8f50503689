"""A collection of random pictures that counts what is read of it."""

import itertools
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch.testing import assert_close

from datamodules.common.batch import Units
from datamodules.grids.collection import CollectionData
from datamodules.grids.corruptions import ColourJitter, Gaussian, Missing, Occlusion
from datamodules.grids.store import Source

CPU = torch.device("cpu")
SHAPE, COUNT = (6, 8), 20
PICTURES = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE, 3), dtype=np.uint8)
NAMES = [f"{'ab'[place // 12]}/{place:02d}" for place in range(COUNT)]
CORRUPTIONS = {"square": Occlusion(3, 2), "jitter": ColourJitter(), "missing": Missing(0.3), "noise": Gaussian()}


@dataclass(kw_only=True, eq=False)
class Pictures(CollectionData):
    """Random pictures that count how often they are read."""

    own = None

    def scan(self):
        self.reads = []

        def read(position):
            self.reads.append(position)
            return PICTURES[position]

        return Source(NAMES, SHAPE, 3, read, lambda: Units(127.5, 127.5, 255.0, "bytes", "uint8"), self.own)


def collection(step=0, tuning=0, **options):
    data = Pictures(corruptions=CORRUPTIONS, tuning=tuning, **options)
    data.setup()
    data.trainer = SimpleNamespace(global_step=step, accumulate_grad_batches=1)
    return data


def take(data, count):
    return [data.transfer_batch_to_device(one, CPU, 0) for one in itertools.islice(data.train_dataloader(), count)]


def values_of(batches, data):
    """The values (signals, *shape, channels) of one pass over all samples."""
    values = torch.cat([batch.parts["data"].targets["value"] for batch in batches], 1)
    return values.reshape(len(values), *data.shape, -1)


def observed(data, image):
    """What was observed of an evaluated image, in file units."""
    scored = data.truth(image)
    return scored.truth.float() if scored.observed is None else scored.observed


def originals(positions):
    """Pictures as they lie in the file."""
    return torch.from_numpy(PICTURES[list(positions)])


def assert_equal(one, other):
    """Two batches hold the same."""
    (data, known), (more, found) = ((batch.parts["data"], batch.signals) for batch in (one, other))
    assert_close([known.index, known.observations], [found.index, found.observations], rtol=0, atol=0)
    assert_close([data.coordinates, data.targets, data.weights], [more.coordinates, more.targets, more.weights], rtol=0, atol=0)
