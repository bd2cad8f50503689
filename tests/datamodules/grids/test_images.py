import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from numpy.testing import assert_array_equal
from PIL import Image

import datamodules.grids.images
from datamodules.grids.images import CelebA, Cifar10, ImageCollection, Olivetti
from inr.errors import InputError

COUNT = 16
random = np.random.default_rng(0)
COLOUR = random.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
GREY = random.integers(0, 256, (COUNT, 64, 64, 1), dtype=np.uint8)
DATA = Path(os.environ.get("INR_DATA", "nowhere"))


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(path)


def everything(data):
    """All images of a collection by name, as read."""
    data.setup()
    return dict(zip(data.source.names, map(data.source.read, range(len(data.source.names))), strict=True))


@pytest.fixture
def folder(tmp_path):
    for place, picture in enumerate(COLOUR[:8]):
        save(picture, tmp_path / ("test" if place % 4 == 0 else "train/inner") / f"{place}.png")
    save(COLOUR[0], tmp_path / ".hidden.png")
    return tmp_path


# folders


@pytest.mark.parametrize("size", [None, 32])  # pictures of one size are not resampled
def test_all_pictures_below_a_folder_are_read_as_they_are(folder, size):
    found = everything(ImageCollection(root=str(folder), size=size))
    assert list(found) == ["test/0.png", "test/4.png", *(f"train/inner/{place}.png" for place in (1, 2, 3, 5, 6, 7))]
    for name, picture in found.items():
        assert_array_equal(picture, COLOUR[int(Path(name).stem)])


def test_a_subfolder_or_a_list_inside_can_be_held_out(folder):
    (folder / "held.txt").write_text("train/inner/3.png\n")
    assert ImageCollection(root=str(folder), held_out="held.txt").names == ["train/inner/3.png"]
    (folder / "held.txt").unlink()
    data = ImageCollection(root=str(folder), held_out="test", tuning=2)
    assert data.names == ["test/0.png", "test/4.png"]
    assert data.describe()["signals"] == 4
    assert data.tuned.names == ["train/inner/6.png", "train/inner/7.png"]


def test_one_picture_is_decoded_before_any_is_asked_for(folder, monkeypatch):
    reads, read_image = [], datamodules.grids.images.read_image
    monkeypatch.setattr(datamodules.grids.images, "read_image", lambda *given: reads.append(given) or read_image(*given))
    data = ImageCollection(root=str(folder), memory=0)
    data.describe()
    data.setup()
    assert len(reads) == 1


@pytest.mark.parametrize(("size", "box"), [(24, (0, 8, 48, 48)), ([24, 16], (0, 16, 48, 32)), ([12, 24], (8, 0, 32, 64))])
def test_the_centre_keeps_the_proportions(size, box, tmp_path):
    wide = np.kron(random.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    save(wide, tmp_path / "wide.png")
    (picture,) = everything(ImageCollection(root=str(tmp_path), size=size)).values()
    top, left, height, width = box
    cut = Image.fromarray(wide[top : top + height, left : left + width])
    sides = (size, size) if isinstance(size, int) else size
    assert_array_equal(picture, np.asarray(cut.resize(sides[::-1], Image.Resampling.LANCZOS)))


def test_boxes_and_whole_pictures_can_be_taken(folder):
    found = everything(ImageCollection(root=str(folder), size=None, crop=[2, 3, 20, 10]))
    assert_array_equal(found["test/4.png"], COLOUR[4][2:22, 3:13])
    save(COLOUR[0][:, :20], folder / "wide" / "a.png")
    data = ImageCollection(root=str(folder / "wide"), size=16, crop="none")
    expected = Image.fromarray(COLOUR[0][:, :20]).resize((16, 16), Image.Resampling.LANCZOS)
    assert_array_equal(everything(data)["a.png"], np.asarray(expected))


def test_colour_is_that_of_the_first_unless_it_is_chosen(tmp_path):
    save(GREY[0], tmp_path / "a.png")
    save(np.repeat(GREY[1], 3, -1), tmp_path / "b.png")
    for colour, channels in ((None, 1), ("grey", 1), ("rgb", 3)):
        data = ImageCollection(root=str(tmp_path), size=None, colour=colour)
        found = everything(data)
        assert data.describe()["out_features"] == channels
        assert_array_equal(found["a.png"], np.repeat(GREY[0], channels, -1))
        assert_array_equal(found["b.png"], np.repeat(GREY[1], channels, -1))


def test_sixteen_bits_become_eight_and_transparency_the_background(tmp_path):
    deep = random.integers(0, 65536, (8, 9), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    (picture,) = everything(ImageCollection(root=str(tmp_path), size=None)).values()
    assert_array_equal(picture[..., 0], np.round(deep / 257))
    clear = np.concatenate([COLOUR[0], np.zeros((32, 32, 1), np.uint8)], -1)
    save(clear, tmp_path / "sub" / "clear.png")
    (picture,) = everything(ImageCollection(root=str(tmp_path / "sub"), size=None, background=[1, 0, 0])).values()
    assert (picture == [255, 0, 0]).all()


# published data sets


@pytest.fixture
def matrix(tmp_path):
    columns = np.stack([picture[..., 0].flatten(order="F") for picture in GREY], 1)
    scipy.io.savemat(tmp_path / "olivettifaces.mat", {"faces": columns})
    return tmp_path / "olivettifaces.mat"


def test_the_matrix_of_faces_is_read_exactly(matrix):
    data = Olivetti(path=str(matrix), held_out=6, tuning=0)
    assert_array_equal(np.stack(list(everything(data).values())), GREY)
    assert data.names == [f"s02/0{place}" for place in range(1, 7)]
    assert data.describe() | {"shape": [64, 64], "out_features": 1, "signals": 10} == data.describe()


def test_the_folder_of_faces_is_read_exactly(tmp_path):
    for place, picture in enumerate(GREY):
        save(picture[:, :56], tmp_path / f"s{1 + place // 4}" / f"{1 + place % 4}.pgm")
    data = Olivetti(path=str(tmp_path), held_out="s04")
    found = everything(data)
    assert list(found)[:5] == ["s01/01", "s01/02", "s01/03", "s01/04", "s02/01"]
    assert_array_equal(np.stack(list(found.values())), GREY[:, :, :56])
    assert data.names == ["s04/01", "s04/02", "s04/03", "s04/04"]


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_cifar_is_read_exactly_and_its_test_batch_held_out(tmp_path, inside):
    planes = COLOUR.transpose(0, 3, 1, 2).reshape(COUNT, -1)
    records = np.concatenate([np.arange(COUNT, dtype=np.uint8)[:, None] % 10, planes], 1)
    (tmp_path / inside).mkdir(exist_ok=True)
    for name, part in (("data_batch_1", slice(6)), ("data_batch_2", slice(6, 12)), ("test_batch", slice(12, 16))):
        records[part].tofile(tmp_path / inside / f"{name}.bin")
    data = Cifar10(root=str(tmp_path), tuning=0.25)
    assert_array_equal(np.stack(list(everything(data).values())), COLOUR)
    assert data.names == [f"test_batch/{place:05d}" for place in range(4)]
    assert data.describe()["signals"] == 9
    assert torch.equal(data.truth(3).truth, torch.from_numpy(COLOUR[15]))


@pytest.mark.parametrize("beside", [False, True])
def test_celeba_holds_out_its_partitions(tmp_path, beside):
    names = [f"{place:06d}.jpg" for place in range(1, COUNT + 1)]
    for name, picture in zip(names, COLOUR, strict=True):
        save(picture, tmp_path / "img_align_celeba" / name)
    text = "".join(f"{name} {place % 3}\n" for place, name in enumerate([*names, "000099.jpg"]))
    (tmp_path / "list_eval_partition.txt").write_text(text)
    data = CelebA(root=str(tmp_path / "img_align_celeba" if beside else tmp_path), size=32)
    found = everything(data)
    assert data.names == [name for place, name in enumerate(names) if place % 3]
    assert_array_equal(found[names[0]], np.asarray(Image.open(tmp_path / "img_align_celeba" / names[0])))
    assert CelebA(root=str(tmp_path)).describe()["shape"] == [128, 128]
    (tmp_path / "list_eval_partition.txt").unlink()
    assert len(CelebA(root=str(tmp_path), held_out=2).positions["held_out"]) == 2
    with pytest.raises(InputError, match=r"reads the partition list, .* missing; copy it there"):
        CelebA(root=str(tmp_path)).describe()


# errors


def written(name, content):
    return lambda path: (path / name).write_bytes(content)


def cifar(at):
    return Cifar10(root=at)


def faces(at):
    return Olivetti(path=f"{at}/faces.mat")


def mixed(path):
    save(COLOUR[0], path / "a.png")
    save(COLOUR[1][:20], path / "b.png")


def broken(path):
    save(COLOUR[0], path / "a.png")
    (path / "b.png").write_bytes((path / "a.png").read_bytes()[:300])


def unlike(path):
    save(GREY[0], path / "s1" / "1.pgm")
    save(GREY[1][:60], path / "s1" / "2.pgm")


def matlab(**content):
    return lambda path: scipy.io.savemat(path / "faces.mat", content)


ERRORS = {
    "nothing named": (None, lambda at: ImageCollection(), ["data.root must be an existing folder", "got null"]),
    "no folder": (None, lambda at: ImageCollection(root=f"{at}/no"), ["data.root must be an existing folder", "/no"]),
    "no pictures": (None, lambda at: ImageCollection(root=at), ["must hold pictures (.png", "no files"]),
    "size": (mixed, lambda at: ImageCollection(root=at, size=1), ["data.size must be a number of pixels", "got 1"]),
    "sizes": (mixed, lambda at: ImageCollection(root=at, size=[3, 4, 5]), ["[rows, columns]", "got [3, 4, 5]"]),
    "crop": (mixed, lambda at: ImageCollection(root=at, crop="left"), ["data.crop must be one of centre, none", "got left"]),
    "crop outside": (mixed, lambda at: ImageCollection(root=at, crop=[9, 9, 30, 9]), ["data.crop=[9, 9, 30, 9]", "[32, 32]"]),
    "colour": (mixed, lambda at: ImageCollection(root=at, colour="red"), ["one of rgb, grey", "got red"]),
    "background": (mixed, lambda at: ImageCollection(root=at, background="red"), ["data.background", "got red"]),
    "two sizes": (
        mixed,
        lambda at: ImageCollection(root=at, size=None),
        ["one size", "a.png has [32", "b.png has [20, 32]"],
    ),
    "truncated": (broken, lambda at: ImageCollection(root=at), ["must be a whole file", "b.png"]),
    "python's cifar": (written("data_batch_1", b"pickle"), cifar, ["binary version of CIFAR-10", "data_batch_1; take that"]),
    "half a record": (written("test_batch.bin", b"12"), cifar, ["records of 3073", "copy"]),
    "no faces": (None, lambda at: Olivetti(path=f"{at}/no.mat"), ["must be olivettifaces.mat or the folder", "no.mat"]),
    "no path": (None, lambda at: Olivetti(), ["must be olivettifaces.mat", "got null"]),
    "empty folder of faces": (None, lambda at: Olivetti(path=at), ["must hold s1/1.pgm", "no files"]),
    "faces of two sizes": (unlike, lambda at: Olivetti(path=at), ["of one size", "2.pgm differs"]),
    "text": (written("faces.mat", b"faces"), faces, ["a matrix file of MATLAB", "faces.mat is not"]),
    "other matrix": (matlab(faces=np.zeros((4, 4))), faces, ["(4, 4) of float64"]),
    "no matrix": (matlab(other=np.zeros(3)), faces, ["a variable faces of (4096, 400)"]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_wrong_files_and_options_end_in_one_sentence(case, tmp_path):
    write, make, words = ERRORS[case]
    if write:
        write(tmp_path)
    with pytest.raises(InputError) as error:
        everything(make(str(tmp_path)))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


# real data


@pytest.mark.skipif(not DATA.is_dir(), reason="needs INR_DATA")
def test_the_real_faces_are_all_there_and_upright():
    path = DATA / "faces" / "olivettifaces.mat"
    data = Olivetti(path=str(path))
    found = everything(data)
    assert len(found) == 400
    assert data.describe()["shape"] == [64, 64]
    column = scipy.io.loadmat(str(path))["faces"][:, 0]
    assert_array_equal(found["s01/01"][..., 0], column.reshape(64, 64).T)
    mean = np.mean([face[..., 0] for face in found.values()], 0)
    assert np.abs(mean - mean[:, ::-1]).mean() < np.abs(mean - mean.T).mean()  # left resembles right
    colour = ImageCollection(root=str(DATA / "faces" / "colour"), held_out=0)
    assert colour.describe() | {"signals": 300, "out_features": 3} == colour.describe()
