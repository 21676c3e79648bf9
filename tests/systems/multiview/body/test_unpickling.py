"""Pickles of model files: arrays of every Python, NumPy and SciPy are read, and nothing is ever run."""

from __future__ import annotations

import copyreg
import pickle
import struct
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refkp.systems.multiview.body.unpickling import unpickle_arrays

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Trap:
    """Unpickled as others do it, it makes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Path.touch, (self.place,)


class Command:
    """A call of a function by its name in a module."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None, setter: Any = None) -> None:
        self.call = (function, arguments, state, None, None, setter)

    def __reduce__(self) -> Any:
        return self.call if self.call[-1] is not None else self.call[:3]


def read(folder: Path, data: bytes) -> Any:
    path = folder / "model.pkl"
    path.write_bytes(data)
    return unpickle_arrays(path)


def same(got: Any, want: np.ndarray) -> None:
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


ARRAYS = {
    "float32": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    "float64": np.linspace(0, 1, 5),
    "big-endian": np.arange(5, dtype=">f8"),
    "unsigned": np.array([[2**32 - 1, 0, 1]], dtype=np.uint32),
    "bool": np.array([True, False]),
    "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "turned": np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
    "a part": np.arange(24.0).reshape(4, 6)[::2, 1::2],
    "empty": np.zeros(0),
    "empty rows": np.zeros((0, 3), np.float32),
    "of no axis": np.array(3.5),
    "text": np.array(["thorax", "kopf \u00fc"]),
    "bytes": np.array([b"thorax", b"head"]),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_protocol(name: str, protocol: int, tmp_path: Path) -> None:
    got = read(tmp_path, pickle.dumps({"a": ARRAYS[name], "b": [ARRAYS[name]]}, protocol=protocol))
    same(got["a"], ARRAYS[name])
    same(got["b"][0], ARRAYS[name])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_of_every_protocol(protocol: int, tmp_path: Path) -> None:
    value = {
        "J_names": ["a", "\u00e4"],
        "flag": True,
        "none": None,
        "number": -7,
        "long": 2**70,
        "real": 0.25,
        "bytes": b"\x00\xff",
        "no bytes": b"",
        "ordered": OrderedDict(x=(1, 2)),
        "scalars": [np.float32(0.5), np.bool_(True), np.int64(-3)],
        "names": np.array(["hip", "knee"], dtype=object),
        "table": np.array([["a", 1], ["b", [2]]], dtype=object),
    }
    got = read(tmp_path, pickle.dumps(value, protocol=protocol))
    assert got == {
        **value,
        "ordered": {"x": [1, 2]},
        "scalars": [0.5, True, -3],
        "names": ["hip", "knee"],
        "table": [["a", 1], ["b", [2]]],
    }


def test_names_of_numpy_before_2(tmp_path: Path) -> None:
    """The same bytes with the modules of NumPy 1 and 2 in them: both are read."""
    values = {"a": np.arange(4.0), "b": np.float64(2.5)}
    for protocol in (0, 2):
        new = pickle.dumps(values, protocol=protocol)
        old = new.replace(b"numpy._core", b"numpy.core")
        assert b"numpy._core.multiarray" in new
        assert b"numpy.core.multiarray" in old
        for data in (new, old):
            got = read(tmp_path, data)
            same(got["a"], values["a"])
            assert got["b"] == 2.5


def test_pickles_of_python_2(tmp_path: Path) -> None:
    """Protocol 2 as Python 2 wrote it: text and bytes of arrays in one kind of string."""
    raw = np.arange(3.0).tobytes()
    dtype = b"cnumpy\ndtype\n(U\x02f8I00\nI01\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR"
    array = empty + b"(I1\n(I3\nt" + dtype + b"I00\nU" + bytes([len(raw)]) + raw + b"tb"
    got = read(tmp_path, b"\x80\x02}(U\x01a" + array + b"U\x07J_names](U\x03t\xeateu.")
    same(got["a"], np.arange(3.0))
    assert got["J_names"] == ["t\u00eat"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_sparse_matrices_are_dense(form: str, kind: str, protocol: int, tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.zeros((3, 5), np.float32)
    dense[0, 4], dense[2, 1], dense[2, 3] = 0.5, 0.25, -1
    matrix = getattr(sparse, f"{form}_{kind}")(dense)
    same(read(tmp_path, pickle.dumps({"J_regressor": matrix}, protocol=protocol))["J_regressor"], dense)


def test_the_class_of_matrices_in_old_scipy(tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    data = pickle.dumps(sparse.csc_matrix(np.eye(3)), protocol=2)
    assert b"scipy.sparse._csc" in data
    same(read(tmp_path, data.replace(b"scipy.sparse._csc", b"scipy.sparse.csc")), np.eye(3))


def test_a_sparse_matrix_with_entries_outside_is_refused(tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    for index in (3, -1):
        matrix = sparse.coo_matrix(np.eye(3))
        matrix.coords[0][0] = index
        with pytest.raises(ValueError, match="an entry outside of it"):
            read(tmp_path, pickle.dumps(matrix))


def test_a_sparse_matrix_of_nothing_takes_no_memory(tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match=r"a sparse matrix \[100000, 1000000\]"):
        read(tmp_path, pickle.dumps(sparse.coo_matrix((10**5, 10**6))))


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module with the class whose objects old model files hold."""
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    return module


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_chumpy(protocol: int, tmp_path: Path, chumpy: Any) -> None:
    template = chumpy.Ch()
    template.x, template.dirty = np.arange(6.0).reshape(2, 3), {1, 2}
    data = pickle.dumps({"v_template": template, "none": chumpy.Ch()}, protocol=protocol)
    with pytest.raises(ValueError, match=r"model\.pkl is no whole pickle of arrays"):
        read(tmp_path, data)  # the second one holds no array
    same(read(tmp_path, pickle.dumps([template], protocol=protocol))[0], template.x)


HOSTILE = {
    "a method": lambda trap, mark: trap,
    "in an array": lambda trap, mark: np.array([1, trap], dtype=object),
    "in arrays in arrays": lambda trap, mark: [
        np.array([np.array([trap, 2], dtype=object), 3], dtype=object)
    ],
    "as a key": lambda trap, mark: {("a", trap): 1},
    "a builtin": lambda trap, mark: Command(eval, f"open({mark!r}, 'w').close()"),
    "another builtin": lambda trap, mark: Command(getattr, "", "upper"),
    "by its setter": lambda trap, mark: Command(dict, state={"a": 1}, setter=exec),
    "of numpy": lambda trap, mark: Command(np.load, mark),
    "of numpy that runs text": lambda trap, mark: Command(np.testing.runstring, f"open({mark!r}, 'w')", {}),
    "of numpy by its file": lambda trap, mark: Command(np.fromfile, mark),
    "a partial function": lambda trap, mark: Command(__import__("functools").partial, print),
    "an attribute": lambda trap, mark: Command(__import__("operator").attrgetter, "a"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_pickle_wants_to_run_is_refused(name: str, protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    value = {"v_template": HOSTILE[name](Trap(mark), str(mark))}
    with pytest.raises(ValueError, match=r"model\.pkl asks for .*; unpickling would run it"):
        read(tmp_path, pickle.dumps(value, protocol=protocol))
    assert not mark.exists()


RAW = {
    "INST": b"(S'touch %s'\nios\nsystem\n.",
    "INST of posix": b"(S'touch %s'\niposix\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch %s'\no.",
    "GLOBAL and BUILD": b"cos\nenviron\n}S'x'\nS'%s'\nsb.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93S'touch %s'\n\x85R.",
    "STACK_GLOBAL into numpy": b"\x80\x04\x8c\x05numpy\x8c\x10_reconstruct.get\x93S'%s'\n\x85R.",
    "a name with dots": b"cnumpy.core.multiarray\nos.system\n(S'touch %s'\ntR.",
    "another codec": b"c_codecs\nlookup\n(S'%s'\ntR.",
    "NEWOBJ": b"\x80\x02csubprocess\nPopen\n(S'touch %s'\nt\x81.",
    "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n(S'touch %s'\nt}\x92.",
    "a loader": b"cpickle\nloads\n(S'%s'\ntR.",
    "a class of chumpy": b"cchumpy.utils\nsystem\n(S'%s'\ntR.",
    "a class of scipy": b"cscipy.io\nloadmat\n(S'%s'\ntR.",
    "a file of Python 2": b"c__builtin__\nfile\n(S'%s'\nS'w'\ntR.",
    "a look-alike": b"cnumpyx.core.multiarray\n_reconstruct\n(S'%s'\ntR.",
}


@pytest.mark.parametrize("name", RAW)
def test_raw_opcodes_are_refused(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(ValueError, match=r"model\.pkl asks for .*; unpickling would run it"):
        read(tmp_path, RAW[name].replace(b"%s", str(mark).encode()))
    assert not mark.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"P0\n.",  # a persistent id
        b"S'a'\nQ.",
        b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
        b"c_codecs\nencode\n(S'a'\ntR.",
        b"cnumpy\nndarray\n.",  # the class itself
        b"cnumpy\ndtype\n.",
        b"cnumpy\ndtype\n(S'V8'\ntR.",
        b"cchumpy.ch\nCh\n(S'x'\nS'y'\nd\x81b.",
        b"cchumpy.ch\nCh\nN}S'made'\ncnumpy\ndtype\ns\x86b.",  # the class is given another method
        b"ccollections\nOrderedDict\nN}S'get'\nI1\ns\x86b.",
        b"ccopyreg\n_reconstructor\n(cnumpy\ndtype\nc__builtin__\nobject\nNtR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.",  # never filled
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",  # more bytes than there are
        b"(lp0\ng0\na.",  # a list in itself
        b"Nr\xff\xff\xff\x7f(lp\n.",  # a place in the memory that other readers would make room for
        b"",
        b".",
        b"no pickle",
        b"\x80\x4d.",
    ],
)
def test_what_is_no_array_is_one_error(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"read_body: .*model\.pkl is no whole pickle of arrays \(.*\. Export the"
    ):
        read(tmp_path, data)


def test_objects_are_never_made_of_bytes(tmp_path: Path) -> None:
    """Addresses in memory that pass for an array of objects."""
    data = pickle.dumps(np.array([None, None]), protocol=4)
    at = data.index(b"]\x94(NNe")
    forged = data[:at] + b"C\x10" + struct.pack("<QQ", 0xDEAD, 0xBEEF) + data[at + len(b"]\x94(NNe") :]
    forged = forged.replace(b"\x95" + data[3:11], b"\x95" + struct.pack("<Q", len(forged) - 11))
    with pytest.raises(ValueError, match="objects in the bytes of an array"):
        read(tmp_path, forged)


def test_shapes_that_do_not_fit_the_bytes_are_refused(tmp_path: Path) -> None:
    data = pickle.dumps(np.arange(4, dtype=np.uint8), protocol=2)
    assert b"K\x04\x85" in data
    with pytest.raises(ValueError, match="no whole pickle of arrays"):
        read(tmp_path, data.replace(b"K\x04\x85", b"K\x05\x85"))


def test_codes_of_the_extension_registry_are_names_like_others(tmp_path: Path) -> None:
    """Also one that this process met before, which Python no longer looks up."""
    mark = tmp_path / "mark"
    copyreg.add_extension("os", "system", 240)
    try:
        call = b"\x82\xf0(S'touch %s'\ntR." % str(mark).encode()
        pickle.loads(b"\x82\xf0.")
        with pytest.raises(ValueError, match=r"asks for os\.system"):
            read(tmp_path, call)
    finally:
        copyreg.remove_extension("os", "system", 240)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_that_ends_early_is_one_error(protocol: int, tmp_path: Path) -> None:
    whole = pickle.dumps({"a": np.arange(5.0), "names": ["x", "y"]}, protocol=protocol)
    for end in range(0, len(whole), 7):
        with pytest.raises(ValueError, match=r"read_body: .*model\.pkl is no whole pickle of arrays"):
            read(tmp_path, whole[:end])
