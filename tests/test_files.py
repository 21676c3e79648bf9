"""Files that are there whole or not at all, hidden ones, and copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from refkp._files import equal_files, put_aside, visible_files, whole_file, whole_folder, write_text


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    for text in ("first é", "second"):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert list(path.parent.iterdir()) == [path]


def test_an_interruption_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    write_text(path, "old")

    def stop(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_a_failed_block_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "numbers.npy"
    write_text(path, "old")

    with pytest.raises(FileNotFoundError), whole_file(path) as unfinished:
        unfinished.write_text((tmp_path / "nowhere").read_text())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "templates"
    for names in (("a", "b"), ("c",)):
        with whole_folder(path) as unfinished:
            for name in names:
                (unfinished / name).touch()
        assert sorted(item.name for item in path.iterdir()) == list(names)
    with pytest.raises(FileNotFoundError), whole_folder(path) as unfinished:
        (unfinished / "d").write_text((tmp_path / "nowhere").read_text())
    assert [item.name for item in path.iterdir()] == ["c"]
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_lost_by_putting_aside(tmp_path: Path) -> None:
    assert put_aside(tmp_path / "run") is None
    for number in (1, 2):
        (tmp_path / "run").mkdir()
        assert put_aside(tmp_path / "run") == tmp_path / f"run_{number}"


def test_hidden_files_and_folders_are_not_listed(tmp_path: Path) -> None:
    root = tmp_path / ".kept" / "photos"  # hidden itself, which whoever names it knows
    for name in ("b/c.jpg", "a.jpg", "._a.jpg", ".ipynb_checkpoints/a.jpg", "b/.DS_Store"):
        write_text(root / name, name)
    assert visible_files(root) == [root / "a.jpg", root / "b" / "c.jpg"]
    assert visible_files(tmp_path / "nothing") == []


def test_copies_are_found_by_content(tmp_path: Path) -> None:
    for name, text in {"a": "one", "b": "two", "c": "three", "x": "two", "y": "four!"}.items():
        write_text(tmp_path / name, text)
    a, b, c, x, y = (tmp_path / name for name in "abcxy")
    assert equal_files([x, y], [a, b, c]) == [(x, b)]
    assert equal_files([a], [a, b]) == [(a, a)]
    assert equal_files([], [a]) == []
