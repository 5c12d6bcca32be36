"""HDF5 files: what Keras writes is read, and what weights never need is refused."""

import base64
import hashlib
import time
import zlib

import h5py
import numpy as np
import pytest

from xfer.errors import WeightsError
from xfer.weights import read_h5, read_weights
from xfer.weights.fetch import matches

KERNEL = np.arange(12, dtype=np.float32).reshape(3, 4)


def legacy(path, root="", **options):
    """A file as `model.save` writes it, with one dense layer."""
    with h5py.File(path, "w") as file:
        group = file.create_group(root) if root else file
        group.attrs["layer_names"] = ["input", "dense"]
        group.create_group("input").attrs["weight_names"] = np.array([])
        layer = group.create_group("dense")
        layer.attrs["weight_names"] = ["dense/kernel", "dense/bias"]
        layer.create_dataset("dense/kernel", data=KERNEL, **options)
        layer.create_dataset("dense/bias", data=np.ones(4, np.float32))
    return path


@pytest.mark.parametrize("root", ["", "model_weights"])
def test_layers_by_name(tmp_path, root):
    found = read_weights(legacy(tmp_path / "x.h5", root))
    assert list(found) == ["dense/0", "dense/1"]
    np.testing.assert_array_equal(found["dense/0"], KERNEL)


def test_layers_by_number_in_the_order_of_numbers(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "predictions"
        for i in range(11):
            group.create_dataset(str(i), data=np.full(2, i, np.float32))
    assert [float(array[0]) for array in read_h5(tmp_path / "x.h5").values()] == list(range(11))
    assert "predictions/10" in read_h5(tmp_path / "x.h5")


def external_link(path):
    with h5py.File(path, "a") as file:
        del file["dense/dense/bias"]
        file["dense/dense/bias"] = h5py.ExternalLink("other.h5", "/secret")


def soft_link(path):
    with h5py.File(path, "a") as file:
        del file["dense/dense/bias"]
        file["dense/dense/bias"] = h5py.SoftLink("/dense/dense/kernel")


def external_data(path):
    path.with_name("raw.bin").write_bytes(bytes(16))
    with h5py.File(path, "a") as file:
        del file["dense/dense/bias"]
        file.create_dataset("dense/dense/bias", (4,), np.float32, external=[(str(path.with_name("raw.bin")), 0, 16)])


def virtual(path):
    with h5py.File(path, "a") as file:
        del file["dense/dense/bias"]
        layout = h5py.VirtualLayout((4,), np.float32)
        layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
        file.create_virtual_dataset("dense/dense/bias", layout)


def bomb(path):
    with h5py.File(path, "a") as file:
        del file["dense/dense/bias"]
        file.create_dataset("dense/dense/bias", data=np.zeros(1 << 22, np.float32), compression="gzip")


def declared_only(path):
    with h5py.File(path, "a") as file:
        del file["dense/dense/bias"]
        file.create_dataset("dense/dense/bias", (1 << 40,), np.float32)


def integers(path):
    with h5py.File(path, "a") as file:
        del file["dense/dense/bias"]
        file["dense/dense/bias"] = np.arange(4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_link, "a link that leads elsewhere"),
        (soft_link, "a link that leads elsewhere"),
        (external_data, "data in other files"),
        (virtual, "not stored as Keras does"),
        (bomb, "it has filters"),
        (declared_only, "truncated"),
        (integers, "expected a float"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_weights_never_need_is_refused(tmp_path, change, message):
    path = legacy(tmp_path / "x.h5")
    change(path)
    with pytest.raises(WeightsError, match=message) as caught:
        read_h5(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_files_are_refused(tmp_path):
    whole = legacy(tmp_path / "x.h5").read_bytes()
    for length in range(8, len(whole) - 1, 97):
        (tmp_path / "y.h5").write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_weights(tmp_path / "y.h5")


@pytest.mark.parametrize("fixed", [False, True], ids=["any length", "one length"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", ">f8"])
def test_it_reads_what_h5py_reads(tmp_path, dtype, fixed):
    """A thousand layers, so that groups have trees of several levels, with names short and long."""
    rng = np.random.default_rng(0)
    names = [f"{'block' * (i % 9)}_{i}".encode() for i in range(1000)]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names"] = np.array(names) if fixed else names
        file.attrs["config"] = b"{}" * 100_000
        for i, name in enumerate(names):
            layer = file.create_group(name)
            weights = [f"w{j}".encode() for j in range(i % 4)]
            layer.attrs["weight_names"] = np.array(weights) if fixed or not weights else weights
            for j, weight in enumerate(weights):
                shape = [(), (0, 3), (5,), (2, 3, 1, 4)][(i + j) % 4]
                layer.create_dataset(weight, data=rng.normal(size=shape).astype(dtype))
    found = read_h5(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        expected = {f"{n.decode()}/{j}": file[n][f"w{j}"][()] for i, n in enumerate(names) for j in range(i % 4)}
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (np.dtype(dtype), array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_what_h5py_writes_on_request_alone_is_refused(tmp_path):
    for options in ({"libver": "latest"}, {"userblock_size": 512}, {"track_order": True}):
        with h5py.File(tmp_path / "x.h5", "w", **options) as file:
            file["layers/0/vars/0"] = np.ones(3, np.float32)
        with pytest.raises(WeightsError, match=r"refused|damaged"):
            read_weights(tmp_path / "x.h5")


# Found by fuzzing: Keras's file of two layers with three bytes changed, on which HDF5 1.14.6 never ends.
ENDLESS = (
    "c-rlnO=uHA6vt;a30;EHEf%UF>e_k;h!PvCwTEuRBrYPRs7OwlwFxAUrr1QOUhFYmq~OJ4j~;srh(-@Wjyd)s6i;3}3F570yKgo-"
    "W3vrOhz)r^D6g~gHnY6_&)1uMt;Z6_{Q*BQk!9i~3URUrG#2<Wt51WaU@KtXOYAz`uR96XC*b!*zX$i?anpNGfVH#hv#d;zQACg5"
    "STb!2%1lpniT8VMtd&e#FkWQM|ClbLUA9Y!htsbD`VEco`nU8;+UgfU{W|r_#<7Y|)SJappW3~DHyNWuvPbpG7~c*Pwi@7{OZD)6"
    "I+Sz1(R_bw-V)<*3`Q18d}Oj2y`r&_HOr?c-M>SzV<>a+^gDu0UFJ#g{j~FY2ldsU`?!^w=EtpDH<NcLfd>_zuSqHU^jWr8&Km`*"
    "ED1WzfQ7J-w_u+b<>lPt;_BLpQOLhE%K6nI7thUc91{=(K@bE%5ClOGWKbNIcMqSoEau%u6ESZY0viqRewl2sWG24a<$YMbDBLGq"
    "D(6s_sLPfvS$=yb$osMLAUluUW4mHLUA;s&ed|!pg?W8$3wd`jUyJh&-@oe@`1gv8cK>GQ7*&<`WAn*n!uPLePyL(P{dPy_x9ex1"
    "|El<o++gQYV!XONFQbmZRD%1d!-2xegi6*0FWkq@rNpwQsVLKPLOlz0Dw&eW)GMg>H5)VQB}sy&Ed_dLedgem%=&+g_ZRx8_I3Pr"
    "?O`xeOD86^Ml$xXQTn;~W+R~e_W$}+-JI3PV&cR1g*h$pZC>N=-q2cq?dZe@K@bE%kU_%srEGs&op$$U`zqxk#?HyV>q=|gM=2H7"
    "kG-xV|IDxzF;C@)#pB@b&BQ#%Vf*>52%ir@MteVRe~&6`qxzk%Yxf=Gk1JL=O*+$W>MDWWji7#8=OB87_Y?C`vtT36JO=6f97N1V"
    "?S}c^k)feb1mBSxY~B*%)oniNgkv)E40PS#JwFWV21~bITetdLXY0|eYwmt*9N(UI_haMq=j*s0?Mzq7Q0QuK@d#o(hH%{Z3vu@q"
    "?E"
)


def test_a_file_on_which_the_hdf5_library_never_ends(tmp_path):
    (tmp_path / "x.h5").write_bytes(zlib.decompress(base64.b85decode(ENDLESS)))
    start = time.monotonic()
    with pytest.raises(WeightsError, match="the tensors of a layer have no numbers"):
        read_weights(tmp_path / "x.h5")
    assert time.monotonic() - start < 10


def test_a_file_of_something_else(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["table"] = np.arange(3)
    with pytest.raises(WeightsError, match="holds no weights that Keras saved"):
        read_h5(tmp_path / "x.h5")


def test_digests_may_be_md5(tmp_path):
    (tmp_path / "x").write_bytes(b"weights")
    assert matches(tmp_path / "x", "md5:" + hashlib.md5(b"weights").hexdigest())
    assert not matches(tmp_path / "x", "md5:" + hashlib.md5(b"others").hexdigest())
    assert matches(tmp_path / "x", hashlib.sha256(b"weights").hexdigest()[:8])
