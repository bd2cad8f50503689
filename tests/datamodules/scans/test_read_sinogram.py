import sys

import numpy as np
import pytest
import SimpleITK
import tifffile
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import savemat
from tiny.matlab import write_hdf5
from tiny.slices import projected_head as project

from datamodules.scans.read_sinogram import read_sinogram
from inr.errors import InputError

VIEWS = 40
DEGREES = np.arange(VIEWS) * 180 / VIEWS
RADIANS = np.deg2rad(DEGREES)


@pytest.fixture
def save(tmp_path):
    """Write arrays to a file of the kind of its name."""

    def write(name="scan.npy", array=None, **named):
        file = tmp_path / name
        array = project() if array is None else array
        if file.suffix == ".npz":
            np.savez(file, **named) if named else np.savez(file, array)
        elif file.suffix == ".npy":
            np.save(file, array)
        elif file.suffix == ".tif":
            tifffile.imwrite(file, array)
        else:
            file.write_text("\n".join(map(repr, np.asarray(array).tolist())))
        return file

    return write


@pytest.mark.parametrize("number", ["float32", "float64", ">f4", "uint16"])
@pytest.mark.parametrize("name", ["scan.npy", "scan.npz", "scan.tif"])
def test_every_kind_of_file_keeps_the_numbers(save, name, number):
    values = (project() * 100).astype(number)
    for array in (values, values[None]):
        found = read_sinogram(save(name, array))
        assert_array_equal(found.values, values.astype(np.float32))
        assert found.values.dtype == np.float32
        assert_allclose(found.angles, RADIANS, atol=1e-12)
        assert_array_equal(found.order, np.arange(VIEWS))


def test_a_tiff_is_read_as_its_tags_say(tmp_path):
    values = (project() * 100).astype(np.uint16)
    tifffile.imwrite(tmp_path / "white.tif", 65535 - values, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "lying.tif", np.rot90(values), extratags=[(274, "H", 1, 6, True)])
    for name in ("white.tif", "lying.tif"):
        assert_array_equal(read_sinogram(tmp_path / name).values, values)


@pytest.mark.parametrize("name", ["angles.npy", "angles.npz", "angles.txt", "angles.csv"])
def test_angles_are_the_same_from_anywhere(save, name):
    file, named = save(), save("named.npz", projections=project(), theta=DEGREES)
    whole = read_sinogram(save("whole.npz", sinogram=project(), angles=DEGREES[:, None], more=0))
    for found in (
        read_sinogram(file, DEGREES.tolist()),
        read_sinogram(file, str(save(name, DEGREES))),
        read_sinogram(file, RADIANS.tolist(), "radians"),
        read_sinogram(named),
    ):
        assert found.angles == whole.angles
        assert_array_equal(found.values, whole.values)
    assert read_sinogram(named, (DEGREES + 5).tolist()).angles == tuple(np.deg2rad(DEGREES + 5))


@pytest.mark.parametrize("fan", [False, True])
@pytest.mark.parametrize("arc", [None, 90, 200])
def test_without_angles_views_share_an_arc(save, arc, fan):
    found = read_sinogram(save(), arc=arc, fan=fan)
    assert_allclose(found.angles, np.deg2rad(np.arange(VIEWS) * (arc or (360 if fan else 180)) / VIEWS), atol=1e-12)


def test_views_are_sorted_and_order_says_where_they_were(save):
    mixed = np.random.default_rng(0).permutation(VIEWS)
    found = read_sinogram(save(array=project()[:, mixed]), DEGREES[mixed].tolist())
    assert_array_equal(found.values, project())
    assert_allclose(found.angles, RADIANS)
    assert_array_equal(found.order, mixed.argsort())
    assert_array_equal(found.values[:, found.order.argsort()], project()[:, mixed])


def test_the_number_of_angles_tells_rows_from_columns(save):
    found = read_sinogram(save(), DEGREES.tolist())
    for order in (None, "views_bins"):
        turned = read_sinogram(save(array=project().T), DEGREES.tolist(), order=order)
        assert_array_equal(turned.values, found.values)


@pytest.mark.parametrize("angles", [None, RADIANS])
def test_a_transposed_square_is_found_by_its_sums_but_the_user_knows_better(save, angles):
    straight, unit = project(VIEWS), "auto" if angles is None else "radians"
    options = {"angles": angles, "angle_unit": unit}
    file = save(array=straight.T)
    assert_array_equal(read_sinogram(save("straight.npy", straight), **options).values, straight)
    with pytest.raises(InputError, match=r"look transposed; add data.order=views_bins, or =bins_views if"):
        read_sinogram(file, **options)
    assert_array_equal(read_sinogram(file, order="views_bins", **options).values, straight)
    assert_array_equal(read_sinogram(file, order="bins_views", **options).values, straight.T)
    assert_array_equal(read_sinogram(file, fan=True, **options).values, straight.T)


def test_units_that_are_unlikely_are_asked_for(save):
    file, uneven = save(), RADIANS**1.2
    radians = "3.83 degrees in 40 views, which look like radians; add data.angle_unit=radians"
    for given, words in (((uneven,), radians), ((DEGREES, "radians"), "175.5 radians in 40 views, which look like degrees")):
        with pytest.raises(InputError, match=f"span of {words}"):
            read_sinogram(file, *given)
    assert_allclose(read_sinogram(file, uneven, "radians").angles, uneven)
    assert_allclose(read_sinogram(file, RADIANS, "degrees").angles, np.deg2rad(RADIANS))
    assert_allclose(read_sinogram(save(array=project()[:, :4]), [0, 1, 2, 3]).angles, np.deg2rad([0, 1, 2, 3]))


@pytest.mark.parametrize("broken", [np.nan, -np.inf, 1e39])
def test_infinite_numbers_are_counted(save, broken):
    values = project().astype(float)
    values[3, 2] = values[5, 7:11] = broken
    with pytest.raises(InputError, match=r"finite in float32, got (nan|-?inf) at \[3, 2\] and 5 such numbers in all"):
        read_sinogram(save(array=values))


@pytest.mark.parametrize(
    ("array", "options", "words"),
    [
        (project()[None].repeat(3, 0), {}, r"two axes, bins and views, .* \(3, 32, 40\)"),
        (project()[0], {}, r"\(40,\)"),
        (project()[:, :0], {}, r"\(32, 0\)"),
        (project() + 0j, {}, "real numbers, .* has complex64"),
        (project() * 0, {}, "the same value everywhere"),
        (project()[15:17], {"order": "bins_views"}, "at least 3 bins, .* has 2 in 40 views"),
        (project(), {"angles": [0, 1]}, "one angle, got 2 angles for 32 rows and 40 columns; correct"),
        (project(), {"angles": []}, "got 0 angles"),
        (project(), {"angles": DEGREES, "order": "views_bins"}, "looks transposed; add data.order=bins_views"),
        (project().T, {"angles": DEGREES, "order": "bins_views"}, "looks transposed; add data.order=views_bins"),
        (
            project(),
            {"angles": [*DEGREES[:-1], 9]},
            "the angle 9 degrees, 2 and 39 in the file; leave one out, or average",
        ),
        (project(), {"angles": [*DEGREES[:-1], np.nan]}, "finite numbers on one axis"),
        (project(), {"angles": ["0", "east"]}, "a file or a list of numbers, got .*east"),
        (project(), {"angles": "nowhere.txt"}, "data.angles must be an existing file, got nowhere.txt"),
        (project(), {"angles": DEGREES, "arc": 90}, "data.arc .* 40 angles are given, got 90; leave it out"),
        (project(), {"angle_unit": "radians"}, "data.angle_unit .* there are none, got radians"),
        (project(), {"angle_unit": "gon"}, "one of auto, degrees, radians, got gon"),
        (project(), {"order": "rows"}, "null or one of bins_views, views_bins, got rows"),
        (project(), {"arc": 400}, "data.arc must be .* got 400"),
    ],
)
def test_what_cannot_be_meant_is_refused(save, array, options, words):
    with pytest.raises(InputError, match=rf"\A.*{words}.*\Z"):
        read_sinogram(save(array=array), **options)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("angles.txt", "0\nleft\n", "whole file of plain numbers, .*left"),
        ("angles.csv", "0,1\n2,3\n", r"one axis, got float64 of shape \(2, 2\)"),
        ("angles.txt", "", "got 0 angles"),
        ("angles.npz", "0\n", "whole file of plain numbers"),
        ("angles.pdf", "0\n", "ends in .npy, .npz, .txt, .csv, .mat, got .*pdf; convert it"),
    ],
)
def test_angles_must_be_numbers_one_by_one(save, tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        read_sinogram(save(), str(tmp_path / name))


def test_several_arrays_need_one_name(save):
    for named in (
        {"a": project(), "b": project()},
        {"sinogram": project(), "projections": project()},
    ):
        with pytest.raises(InputError, match=f"named sinogram or projections, .* has {', '.join(named)}; rename it"):
            read_sinogram(save("scan.npz", **named))


@pytest.mark.parametrize("name", ["scan.npy", "scan.npz", "scan.tif"])
def test_a_file_cut_anywhere_is_refused_in_one_line(save, name):
    file = save(name)
    whole = file.read_bytes()
    for length in range(0, len(whole), 127):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"\A.*\Z"):
            read_sinogram(file)


# MATLAB, and volumes of medical imaging


def test_a_matlab_file_is_read_by_name(save, tmp_path):
    straight = read_sinogram(save(), DEGREES.tolist())
    about = {"theta": DEGREES[None], "centre": 17.0, "name": "head", "more": {"a": np.eye(3)}}
    savemat(tmp_path / "five.mat", {"sinogram": project(), **about})
    savemat(tmp_path / "FIVE.MAT", {"sinogram": project().astype(np.uint8), **about}, do_compression=True)
    savemat(tmp_path / "four.mat", {"sinogram": project().astype(float), "theta": DEGREES}, format="4")
    write_hdf5(tmp_path / "seven.mat", sinogram=project(), theta=DEGREES[None], centre=np.array([[17.0]]))
    for name in ("five.mat", "FIVE.MAT", "four.mat", "seven.mat"):
        found = read_sinogram(tmp_path / name)
        assert_array_equal(found.values, project().astype(np.uint8) if name == "FIVE.MAT" else straight.values)
        assert found.angles == straight.angles
        assert found.geometry == ({} if name == "four.mat" else {"centre": 17.0})
    assert read_sinogram(tmp_path / "seven.mat", str(tmp_path / "five.mat")).angles == straight.angles


def test_structs_are_looked_into(save, tmp_path):
    straight = read_sinogram(save(), DEGREES.tolist())
    scan = {"sinogram": project(), "text": "head", "about": {"theta": DEGREES[None], "centre": np.array([[17.0]])}}
    savemat(tmp_path / "five.mat", {"scan": scan, "more": np.eye(3)})
    write_hdf5(tmp_path / "seven.mat", scan={**scan, "text": np.empty((0, 3))}, more=np.eye(3))
    for name in ("five.mat", "seven.mat"):
        found = read_sinogram(tmp_path / name)
        assert_array_equal(found.values, straight.values)
        assert found.angles == straight.angles
        assert found.geometry == {"centre": 17.0}


def test_a_matrix_outside_of_structs_needs_no_name(tmp_path):
    savemat(tmp_path / "five.mat", {"anything": project(), "about": {"a": np.eye(3), "b": np.eye(2)}})
    assert_array_equal(read_sinogram(tmp_path / "five.mat").values, project())


def test_a_matlab_file_without_arrays_is_refused(tmp_path):
    savemat(tmp_path / "text.mat", {"name": "head", "cell": np.array(["a", project()], object)})
    write_hdf5(tmp_path / "seven.mat")
    for name in ("text.mat", "seven.mat"):
        with pytest.raises(InputError, match=rf"must hold arrays of numbers, .*{name} holds none; save them as matrices"):
            read_sinogram(tmp_path / name)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd", "NRRD"])
def test_formats_of_medical_imaging_hold_sinograms_too(save, tmp_path, ending):
    path = tmp_path / f"scan.{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(project()), path)
    assert_array_equal(read_sinogram(path, DEGREES).values, project())


@pytest.mark.parametrize(("module", "name"), [("SimpleITK", "scan.nrrd"), ("h5py", "seven.mat")])
def test_what_is_missing_can_be_installed(tmp_path, monkeypatch, module, name):
    write_hdf5(tmp_path / "seven.mat", sinogram=project())
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(project()), tmp_path / "scan.nrrd")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"read by {module}, of the extra ct, .* pip install {module}"):
        read_sinogram(tmp_path / name)


@pytest.mark.parametrize("name", ["scan.mat", "seven.mat", "scan.nrrd", "scan.nii", "scan.nii.gz", "scan.mha"])
def test_other_files_cut_anywhere_are_refused_in_one_line(tmp_path, name):
    file = tmp_path / name
    if name == "seven.mat":
        write_hdf5(file, sinogram=project())
    elif name == "scan.mat":
        savemat(file, {"sinogram": project()})
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(project()), file)
    whole = file.read_bytes()
    for length in range(0, len(whole), 509):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"\A.*\Z"):
            read_sinogram(file)
