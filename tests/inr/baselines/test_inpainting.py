import torch
from torch.testing import assert_close

from inr.baselines.inpainting import biharmonic


def test_inpainting_is_exact_on_a_ramp_and_leaves_the_rest():
    rows, columns = torch.meshgrid(torch.arange(14.0), torch.arange(17.0), indexing="ij")
    ramps = torch.stack([rows - 2 * columns, 3 * rows + columns, columns], -1) / 20
    images = torch.stack([ramps, -ramps, ramps + 1])
    missing = torch.zeros(3, 14, 17, dtype=torch.bool)
    missing[0, 4:9, 5:8] = missing[1, 3, 3] = missing[1, 7:10, 4:12] = True  # nothing is missing of the last
    holes = images.masked_fill(missing[..., None], 7.0)
    filled = biharmonic(holes, missing)
    assert torch.equal(filled[~missing], images[~missing])
    assert_close(filled, images, rtol=0, atol=1e-5)
