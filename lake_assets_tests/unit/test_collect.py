import errno
import gzip
import hashlib
import io
import json
import os
import resource
import shutil
import socket
import tarfile
import zipfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lake_assets.contracts.names import DatasetName
from lake_assets.errors import (
    InvalidRequest,
    LakeError,
    StorageUnavailable,
    UnreadableSource,
    UnsupportedFormat,
)
from lake_assets.intake import flow, large_files, staged_folder
from lake_assets.intake.archives import ArchiveLimits
from lake_assets.intake.collect import collect
from lake_assets.intake.image_columns import referenced_name
from lake_assets.intake.model import ReadOptions
from lake_assets.intake.staged_folder import OwnShards
from lake_assets.storage import files as storage_files
from lake_assets.storage.shards import ShardStore


def png(shade=0):
    raw = io.BytesIO()
    Image.new("L", (3, 2), shade).save(raw, "PNG")
    return raw.getvalue()


@pytest.fixture
def delivered(tmp_path):
    folder = tmp_path / "delivered"
    folder.mkdir()
    return folder


@pytest.fixture
def staged(tmp_path):
    folder = tmp_path / "staged"
    folder.mkdir()
    return folder


@pytest.fixture
def take(staged):
    def run(source, **arguments):
        options = arguments.pop("options", ReadOptions())
        return collect(source, staged, options, **arguments)

    return run


def write(folder, contents):
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def roles(collected):
    return {file.name: file.role for file in collected.files}


def refusals(collected):
    return {(item.name, item.rule) for item in collected.refused}


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# -- one tabular file, or a table from memory


def parquet_bytes(table):
    raw = io.BytesIO()
    pq.write_table(table, raw)
    return raw.getvalue()


def arrow_bytes(table):
    raw = io.BytesIO()
    with pa.ipc.new_file(raw, table.schema) as writer:
        writer.write_table(table)
    return raw.getvalue()


TABLE = pa.table({"n": [1, 2], "text": ["a", "b"]})
TABULAR = {
    "t.parquet": parquet_bytes(TABLE),
    "t.csv": b"n,text\n1,a\n2,b\n",
    "t.tsv": b"n\ttext\n1\ta\n2\tb\n",
    "t.jsonl": b'{"n":1,"text":"a"}\n{"n":2,"text":"b"}\n',
    "t.json": b'[{"n":1,"text":"a"},{"n":2,"text":"b"}]',
    "t.arrow": arrow_bytes(TABLE),
    "t.csv.gz": gzip.compress(b"n,text\n1,a\n"),
    "t.jsonl.zst": pa.Codec("zstd").compress(b'{"n":1}\n').to_pybytes(),
    "parquet without a suffix": parquet_bytes(TABLE),
}


@pytest.mark.parametrize("name", TABULAR)
def test_a_tabular_file_is_staged_as_it_is_with_its_hash(delivered, staged, take, name):
    write(delivered, {name: TABULAR[name], "neighbour.csv": b"x\n1\n"})
    collected = take(delivered / name)
    assert contents(staged) == {name: TABULAR[name]}
    (file,) = collected.files
    assert (file.name, file.role) == (name, "data")
    assert file.byte_count == len(TABULAR[name])
    assert file.sha256 == hashlib.sha256(TABULAR[name]).hexdigest()
    assert collected.options == ReadOptions()
    assert collected.source == str(delivered / name)


@pytest.mark.parametrize("make", [pa.Table.to_pandas, lambda table: table], ids=["pandas", "arrow"])
def test_a_table_from_memory_becomes_a_parquet_file(staged, take, make):
    collected = take(make(TABLE))
    assert pq.read_table(staged / "data.parquet").to_pylist() == TABLE.to_pylist()
    assert roles(collected) == {"data.parquet": "data"}
    assert collected.files[0].sha256 == hashlib.sha256(contents(staged)["data.parquet"]).hexdigest()
    assert "2 rows" in collected.source


def test_a_dict_column_becomes_a_struct(staged, take):
    image = {"bytes": png(), "path": "a.png"}
    collected = take(pd.DataFrame({"photo": [image, image]}))
    assert pq.read_table(staged / "data.parquet")["photo"].to_pylist() == [image, image]
    assert collected.options.image_column == "photo"


def test_only_a_named_index_is_kept(staged, take):
    take(pd.DataFrame({"n": [1, 2]}, index=pd.Index(["x", "y"], name="key")))
    assert pq.read_table(staged / "data.parquet").column_names == ["n", "key"]


def test_a_nameless_index_is_only_row_numbers(staged, take):
    take(pd.DataFrame({"n": [1, 2, 3]})[1:])
    assert pq.read_table(staged / "data.parquet").to_pydict() == {"n": [2, 3]}


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ([Image.new("L", (1, 1))], "holds Image.*image.save"),
        ([1, "one"], "holds int, str.*one type"),
        ([object()], "holds object.*one type"),
        ([2**70], "holds int"),
    ],
    ids=["PIL", "mixed", "object", "too large"],
)
def test_a_column_that_arrow_cannot_hold_is_named_with_what_to_do(take, values, advice):
    frame = pd.DataFrame({"fine": range(len(values)), "odd": pd.Series(values, dtype=object)})
    with pytest.raises(InvalidRequest, match=f"Column 'odd'.*{advice}"):
        take(frame)


def test_a_column_that_comes_twice_is_named(take):
    with pytest.raises(InvalidRequest, match="more than once: a"):
        take(pd.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize("table", [pd.DataFrame(), pa.table({})], ids=["pandas", "arrow"])
def test_a_table_without_columns_is_refused(take, table):
    with pytest.raises(InvalidRequest, match="no columns"):
        take(table)


def test_other_objects_are_refused(take):
    with pytest.raises(InvalidRequest, match="A list cannot be delivered"):
        take([1, 2])


# -- images that rows name


LIST = "file_name,label\n{a},cat\n{b},dog\nmissing.png,none\n{a},again\n"


def test_images_that_a_csv_names_come_along_once_each(delivered, staged, take):
    write(delivered, {"a.png": png(1), "sub/b.png": png(2), "unnamed.png": png(3)})
    write(delivered, {"list.csv": LIST.format(a="a.png", b="sub/b.png")})
    collected = take(delivered / "list.csv")
    assert collected.options.image_column == "file_name"
    assert roles(collected) == {
        "list.csv": "data",
        referenced_name("a.png"): "image",
        referenced_name("sub/b.png"): "image",
    }
    assert contents(staged)[referenced_name("sub/b.png")] == png(2)
    assert not collected.refused


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "arrow"])
def test_references_are_found_in_every_format(delivered, staged, take, suffix):
    write(delivered, {f"{i}.png": png(i) for i in range(3)})
    table = pa.table({"image": [f"{i}.png" for i in range(3)], "n": [0, 1, 2]})
    raw = {
        "parquet": parquet_bytes(table),
        "arrow": arrow_bytes(table),
        "jsonl": "\n".join(map(json.dumps, table.to_pylist())),
    }
    write(delivered, {f"list.{suffix}": raw[suffix]})
    take(delivered / f"list.{suffix}")
    expected = {referenced_name(f"{i}.png") for i in range(3)}
    assert contents(staged).keys() == expected | {f"list.{suffix}"}


def test_rows_from_memory_name_images_from_the_current_folder(delivered, staged, take, monkeypatch):
    write(delivered, {"a.png": png()})
    monkeypatch.chdir(delivered)
    take(pd.DataFrame({"image": ["a.png", str(delivered / "a.png"), None]}))
    assert contents(staged).keys() == {
        "data.parquet",
        referenced_name("a.png"),
        referenced_name(str(delivered / "a.png")),
    }


def test_a_windows_path_finds_its_file(delivered, staged, take):
    write(delivered, {"sub/a.png": png(), "list.csv": "image\nsub\\a.png\n"})
    take(delivered / "list.csv")
    assert contents(staged)[referenced_name("sub\\a.png")] == png()


def test_a_name_of_digits_stays_a_name(delivered, staged, take):
    write(delivered, {"0001": png(1), "0002": png(2), "list.csv": "image,n\n0001,1\n0002,2\n"})
    take(delivered / "list.csv")
    expected = {referenced_name("0001"), referenced_name("0002")}
    assert contents(staged).keys() == expected | {"list.csv"}


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_a_struct_names_its_file_only_where_it_lacks_bytes(delivered, staged, take, name):
    write(delivered, {"a.png": png(1), "b.png": png(2)})
    rows = [{"bytes": None, "path": "a.png"}, {"bytes": png(2), "path": "b.png"}]
    make = parquet_bytes if name == "t.parquet" else arrow_bytes
    write(delivered, {name: make(pa.table({"image": rows}))})
    collected = take(delivered / name)
    assert collected.options.image_column == "image"
    assert contents(staged).keys() == {name, referenced_name("a.png")}


def test_embedded_images_name_no_files(delivered, staged, take):
    write(delivered, {"t.parquet": parquet_bytes(pa.table({"photo": [png(1), png(2)]}))})
    collected = take(delivered / "t.parquet")
    assert collected.options.image_column == "photo"
    assert contents(staged).keys() == {"t.parquet"}


@pytest.mark.parametrize("value", ["", ".", "..", "sub", "http://x/a.png", "x" * 5000, "a\tb"])
def test_a_name_of_no_file_is_left_to_ingestion(delivered, staged, take, value):
    write(delivered, {"sub/a.png": png()})
    rows = [{"image": "sub/a.png"}, {"image": value}]
    write(delivered, {"list.jsonl": "\n".join(map(json.dumps, rows))})
    take(delivered / "list.jsonl", options=ReadOptions(image_column="image"))
    assert contents(staged).keys() == {"list.jsonl", referenced_name("sub/a.png")}


def test_references_of_strangers_are_not_followed(delivered, staged, take):
    write(delivered, {"a.png": png(), "list.csv": "image\na.png\n/etc/passwd\n"})
    take(delivered / "list.csv", follow_references=False)
    assert contents(staged).keys() == {"list.csv"}


def test_references_out_of_an_archive_are_not_followed(delivered, staged, take):
    write(delivered, {"secret.png": png()})
    secret = delivered / "secret.png"
    with zipfile.ZipFile(delivered / "d.zip", "w") as archive:
        archive.writestr("a.png", png())
        archive.writestr("metadata.csv", f"file_name\na.png\n{secret}\n../secret.png\n")
    collected = take(delivered / "d.zip")
    assert contents(staged).keys() == {"a.png", "metadata.csv"}
    assert collected.options.image_column == "file_name"


def test_a_column_that_was_named_wins(delivered, take):
    write(delivered, {"a.png": png(), "list.csv": "image,scan\na.png,a.png\n"})
    options = ReadOptions(image_column="scan")
    assert take(delivered / "list.csv", options=options).options == options


def test_a_column_that_was_named_must_be_there(delivered, take):
    write(delivered, {"list.csv": "image\na.png\n"})
    with pytest.raises(InvalidRequest, match="'scan'"):
        take(delivered / "list.csv", options=ReadOptions(image_column="scan"))


# -- folders


def test_a_folder_of_images_keeps_its_names_in_order(delivered, staged, take):
    images = {"b.png": png(1), "a/z.png": png(2), "a/é.PNG": png(3), "B.png": png(4)}
    write(delivered, images | {"no suffix": png(5)})
    collected = take(delivered)
    assert [file.name for file in collected.files] == [
        "B.png", "a/z.png", "a/é.PNG", "b.png", "no suffix",
    ]  # fmt: skip
    assert set(roles(collected).values()) == {"image"}
    assert contents(staged) == images | {"no suffix": png(5)}


def test_images_with_a_metadata_file_stay_where_they_are(delivered, staged, take):
    write(delivered, {"x/1.png": png(1), "x/2.png": png(2)})
    write(delivered, {"x/metadata.csv": "file_name,label\n1.png,a\n2.png,b\n3.png,c\n"})
    collected = take(delivered)
    assert collected.options.image_column == "file_name"
    assert contents(staged).keys() == {"x/1.png", "x/2.png", "x/metadata.csv"}


def test_a_metadata_file_may_name_images_outside_its_folder(delivered, staged, take, tmp_path):
    write(tmp_path, {"up.png": png(1), "far/away.png": png(2)})
    away = str(tmp_path / "far" / "away.png")
    write(delivered, {"m/metadata.csv": f"file_name\n../../up.png\n{away}\n../in.png\n"})
    write(delivered, {"in.png": png(3)})
    take(delivered)
    assert contents(staged) == contents(delivered) | {
        referenced_name("../../up.png"): png(1),
        referenced_name(away): png(2),
    }


def test_one_name_for_two_files_outside_is_not_guessed_at(delivered, take, tmp_path):
    write(tmp_path, {"y.png": png(1), "delivered/y.png": png(2)})
    lists = {"list.csv": "image\n../../y.png\n", "deep/list.csv": "image\n../../y.png\n"}
    write(delivered / "folder", lists)
    with pytest.raises(InvalidRequest, match="one at a time"):
        take(delivered / "folder")


def test_one_file_outside_may_be_named_by_many(delivered, staged, take):
    write(delivered, {"y.png": png()})
    write(delivered / "folder", {f"{i}.csv": "image\n../y.png\n../y.png\n" for i in range(3)})
    take(delivered / "folder")
    assert len(contents(staged)) == 4


def test_folders_of_data_files_and_of_everything_are_told_apart(delivered, take):
    write(delivered, {"1.csv": "n\n1\n", "2.csv": "n\n2\n", "readme.txt": "hello", "p.png": png()})
    assert roles(take(delivered)) == {
        "1.csv": "data", "2.csv": "data", "p.png": "image", "readme.txt": "other",
    }  # fmt: skip


def test_a_damaged_file_among_others_is_left_to_ingestion(delivered, take):
    write(delivered, {"bad.parquet": b"PAR1 but no more", "good.csv": "n\n1\n"})
    assert roles(take(delivered)) == {"bad.parquet": "data", "good.csv": "data"}


def test_a_damaged_file_alone_is_an_error(delivered, take):
    write(delivered, {"bad.parquet": b"PAR1 but no more"})
    with pytest.raises(UnreadableSource):
        take(delivered / "bad.parquet")


def test_litter_is_named_and_not_staged(delivered, staged, take):
    write(delivered, {"a.png": png(), ".DS_Store": b"x", ".git/config": b"x", "d/Thumbs.db": b"x"})
    collected = take(delivered)
    assert collected.ignored == (".DS_Store", ".git/", "d/Thumbs.db")
    assert contents(staged).keys() == {"a.png"}


def test_a_link_inside_is_followed_and_others_are_refused(delivered, staged, take, tmp_path):
    write(tmp_path, {"outside/secret.png": png(9), "delivered/sub/a.png": png()})
    (delivered / "inside.png").symlink_to(delivered / "sub" / "a.png")
    (delivered / "secret.png").symlink_to(tmp_path / "outside" / "secret.png")
    (delivered / "through").symlink_to(tmp_path / "outside")
    (delivered / "up").symlink_to(delivered)
    (delivered / "loop").symlink_to(delivered / "loop")
    (delivered / "broken").symlink_to(delivered / "gone")
    collected = take(delivered)
    assert contents(staged) == {"inside.png": png(), "sub/a.png": png()}
    assert not any(path.is_symlink() for path in staged.rglob("*"))
    assert refusals(collected) == {
        ("secret.png", "file_stays_inside_its_folder"),
        ("through", "file_stays_inside_its_folder"),
        ("up", "file_is_a_regular_file"),
        ("loop", "file_is_a_regular_file"),
        ("broken", "file_is_a_regular_file"),
    }


def test_a_folder_that_is_a_link_itself_is_followed(delivered, staged, take, tmp_path):
    write(delivered, {"a.png": png()})
    (tmp_path / "link").symlink_to(delivered)
    take(tmp_path / "link")
    assert contents(staged) == {"a.png": png()}


def test_what_is_not_a_regular_file_is_refused(delivered, take):
    write(delivered, {"a.png": png()})
    os.mkfifo(delivered / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(delivered / "socket"))
    assert refusals(take(delivered)) == {
        ("fifo", "file_is_a_regular_file"),
        ("socket", "file_is_a_regular_file"),
    }


@pytest.mark.parametrize(
    "name", [b"caf\xe9.png", b"a\nb.png", b"a\x1bb.png", b"bad\xff/a.png"], ids=repr
)
def test_a_name_that_cannot_be_kept_is_refused(delivered, staged, take, name):
    write(delivered, {os.fsdecode(name): png(), "good.png": png()})
    collected = take(delivered)
    assert [item.rule for item in collected.refused] == ["file_name_is_usable"]
    assert collected.refused[0].name.encode()
    assert contents(staged) == {"good.png": png()}


@pytest.mark.parametrize("parts", [["d" * 200] * 6, ["d"] * 200], ids=["long", "deep"])
def test_a_folder_too_deep_is_refused_not_entered(delivered, staged, take, parts):
    deep = "/".join(parts)
    write(delivered, {"good.png": png(), f"{deep}/a.png": png()})
    collected = take(delivered)
    assert [item.rule for item in collected.refused] == ["file_name_is_usable"]
    assert contents(staged).keys() == {"good.png"}


def test_an_unreadable_file_is_refused_and_the_rest_is_taken(delivered, staged, take, monkeypatch):
    write(delivered, {"a.png": png(1), "b.png": png(2)})
    allowed = storage_files._without_waiting

    # Root may read everything, so a mode would prove nothing.
    def deny(path, flags):
        if str(path).endswith("a.png"):
            raise PermissionError(13, "Permission denied")
        return allowed(path, flags)

    monkeypatch.setattr(storage_files, "_without_waiting", deny)
    assert refusals(take(delivered)) == {("a.png", "file_is_readable")}
    assert contents(staged).keys() == {"b.png"}


def test_a_folder_that_holds_the_lake_is_refused(take, tmp_path, delivered):
    write(delivered, {"a.png": png()})
    with pytest.raises(InvalidRequest, match="holds the lake itself"):
        take(tmp_path)


# -- archives and single images


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_is_staged_as_the_folder_that_it_holds(delivered, staged, take, kind):
    inside = {"top/1.png": png(1), "top/metadata.csv": b"file_name,n\n1.png,1\n", "top/x": b"?"}
    write(delivered / "packed", inside)
    if kind == "tar":
        with tarfile.open(delivered / "d.tar", "w") as tar:
            tar.add(delivered / "packed", arcname=".")
            link = tarfile.TarInfo("top/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    else:
        with zipfile.ZipFile(delivered / "d.zip", "w") as archive:
            for name, content in inside.items():
                archive.writestr(name, content)
            archive.writestr("../link", b"evil")
    collected = take(delivered / f"d.{kind}")
    assert contents(staged) == inside
    assert roles(collected) == {
        "top/1.png": "image", "top/metadata.csv": "data", "top/x": "other",
    }  # fmt: skip
    assert {file.name: file.sha256 for file in collected.files} == {
        name: hashlib.sha256(content).hexdigest() for name, content in inside.items()
    }
    assert len(collected.refused) == 1
    assert collected.options.image_column == "file_name"


def test_a_single_image_is_a_folder_of_one(delivered, staged, take):
    write(delivered, {"a.png": png(), "b.png": png()})
    assert roles(take(str(delivered / "a.png"))) == {"a.png": "image"}


def test_the_limits_of_archives_are_passed_on(delivered, take):
    with zipfile.ZipFile(delivered / "d.zip", "w") as archive:
        archive.writestr("a.csv", b"n\n" + b"1\n" * 1000)
    with pytest.raises(UnreadableSource, match="unpacks to more than 100 bytes"):
        take(delivered / "d.zip", limits=ArchiveLimits(max_bytes=100))


# -- what is refused as a whole


@pytest.mark.parametrize("name", ["missing", "broken link"])
def test_a_source_that_is_not_there_is_an_error(delivered, take, name):
    (delivered / "broken link").symlink_to("gone")
    with pytest.raises(InvalidRequest, match="no such file or folder"):
        take(delivered / name)


@pytest.mark.parametrize("litter", [{}, {".DS_Store": b"x"}, {"empty/.keep": b"x"}])
def test_an_empty_folder_is_an_error(delivered, take, litter):
    write(delivered, litter)
    with pytest.raises(InvalidRequest, match="nothing in"):
        take(delivered)


@pytest.mark.parametrize("name", ["report.docx", "notes.txt", "data.sqlite", "x.txt.gz"])
def test_what_nobody_understands_names_what_is_understood(delivered, staged, take, name):
    write(delivered, {name: b"PK\x03\x04 whatever"})
    for source in (delivered / name, delivered):
        with pytest.raises(UnsupportedFormat, match=rf"{name}.*Parquet.*\.zip"):
            take(source)


def test_an_archive_of_nothing_usable_says_why(delivered, take):
    with zipfile.ZipFile(delivered / "d.zip", "w") as archive:
        archive.writestr("../evil.png", png())
    with pytest.raises(UnsupportedFormat, match="member_stays_inside_the_archive"):
        take(delivered / "d.zip")


def test_a_fifo_is_refused_at_once(delivered, take):
    os.mkfifo(delivered / "fifo")
    with pytest.raises(UnsupportedFormat, match="neither a file nor a folder"):
        take(delivered / "fifo")


def test_a_single_file_whose_name_cannot_be_kept_is_to_be_renamed(delivered, take):
    write(delivered, {"a\nb.csv": "n\n1\n"})
    with pytest.raises(InvalidRequest, match="Rename .*its name holds"):
        take(delivered / "a\nb.csv")


def test_a_full_disk_is_worth_another_try(delivered, take, monkeypatch):
    write(delivered, {"a.png": png()})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage_files.os, "write", full)
    with pytest.raises(StorageUnavailable, match="No space left"):
        take(delivered)


# -- promises to the caller


def test_progress_counts_files_and_bytes(delivered, take):
    write(delivered, {"a.csv": "n\n1\n", "b.csv": "n\n22\n"})
    seen = []
    take(delivered, progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 4), (2, 9)]


def test_nothing_is_copied_any_more_once_progress_has_raised(delivered, staged, take):
    def stop(files, byte_count):
        raise ValueError("enough")

    write(delivered, {f"{number:04d}.png": png(number % 250) for number in range(2_000)})
    with pytest.raises(ValueError, match="enough"):
        take(delivered, progress=stop)
    there = contents(staged).keys()
    assert len(there) < 1_000
    assert contents(staged).keys() == there


def test_the_file_system_is_synced_once_all_is_in_the_folder(delivered, staged, take, monkeypatch):
    seen = []

    def sync(folder):
        seen.append((folder, contents(staged).keys()))

    monkeypatch.setattr(staged_folder, "sync_file_system", sync)
    write(delivered, {"a/b/1.png": png(1), "a/2.png": png(2)})
    take(delivered)
    assert seen == [(staged, {"a/b/1.png", "a/2.png"})]


# -- images that the lake has


@pytest.fixture
def known(tmp_path):
    """A dataset's shards, with one image among them."""
    shards = OwnShards(name=DatasetName("icdar", "sroie"), store=ShardStore(tmp_path / "assets"))
    shards.store.put(place_of(shards, png(1)), png(1))
    return shards


def place_of(shards, data):
    return shards.store.location(shards.name, hashlib.sha256(data).hexdigest(), "png")


def test_an_image_that_the_lake_has_is_linked_and_another_is_copied(delivered, staged, take, known):
    write(delivered, {"a.png": png(1), "sub/again.png": png(1), "new.png": png(2)})
    collected = take(delivered, shards=known)
    shard = known.store.path(place_of(known, png(1)))
    assert shard.samefile(staged / "a.png")
    assert shard.samefile(staged / "sub/again.png")
    assert not any((staged / "new.png").samefile(path) for path in (shard, delivered / "new.png"))
    assert contents(staged) == contents(delivered)
    assert {file.sha256 for file in collected.files} == {
        hashlib.sha256(png(shade)).hexdigest() for shade in (1, 2)
    }
    shutil.rmtree(staged)
    assert shard.read_bytes() == png(1)


def test_a_shard_of_another_size_is_not_taken_for_the_image(delivered, staged, take, known):
    shard = known.store.path(place_of(known, png(1)))
    shard.unlink()
    shard.write_bytes(b"cut off")
    write(delivered, {"a.png": png(1)})
    take(delivered, shards=known)
    assert contents(staged) == {"a.png": png(1)}
    assert not shard.samefile(staged / "a.png")


def test_an_image_whose_shard_lost_its_content_is_copied_and_mends_it(
    delivered, staged, take, known
):
    shard = known.store.path(place_of(known, png(1)))
    shard.unlink()
    shard.write_bytes(bytes(len(png(1))))
    inode = shard.stat().st_ino
    write(delivered, {"a.png": png(1), "b.png": png(2)})
    take(delivered, shards=known)
    assert contents(staged) == contents(delivered)
    assert shard.read_bytes() == png(1)
    assert shard.stat().st_ino != inode
    assert known.store.size(place_of(known, png(2))) is None


def test_an_image_that_cannot_be_linked_is_copied(delivered, staged, take, known, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EMLINK, "Too many links")  # ext4 has 65,000 for one file

    monkeypatch.setattr(os, "link", refuse)
    write(delivered, {"a.png": png(1)})
    take(delivered, shards=known)
    assert contents(staged) == {"a.png": png(1)}


def test_a_table_is_never_linked_to_an_image(delivered, staged, take, known):
    write(delivered, {"a.csv": "n\n1\n"})
    data = (delivered / "a.csv").read_bytes()
    known.store.put(known.store.location(known.name, hashlib.sha256(data).hexdigest(), "csv"), data)
    take(delivered, shards=known)
    assert (staged / "a.csv").stat().st_nlink == 1


def test_many_files_come_out_in_the_order_of_their_names(delivered, staged, take, monkeypatch):
    monkeypatch.setattr(flow, "_FLUSH_BYTES", 1)
    write(delivered, {f"{number:03d}.png": png(number % 250) for number in range(600)})
    collected = take(delivered)
    assert [file.name for file in collected.files] == sorted(contents(delivered))
    assert contents(staged) == contents(delivered)


def test_a_file_larger_than_the_buffer_is_copied_in_blocks(delivered, staged, take, monkeypatch):
    monkeypatch.setattr(staged_folder, "_BUFFER_BYTES", 50)
    write(delivered, {"a.png": png(), "b.csv": "n\n1\n"})
    collected = take(delivered)
    assert contents(staged) == contents(delivered)
    assert {file.name: file.sha256 for file in collected.files} == {
        name: hashlib.sha256(data).hexdigest() for name, data in contents(delivered).items()
    }


def test_the_source_is_left_untouched(delivered, take):
    write(delivered, {"a.png": png(), "list.csv": "image\na.png\n"})
    before = {path: path.stat().st_mtime_ns for path in delivered.rglob("*")}
    take(delivered)
    assert {path: path.stat().st_mtime_ns for path in delivered.rglob("*")} == before


def test_every_error_is_one_of_this_package(delivered, take):
    write(delivered, {"d.tar.gz": b"\x1f\x8b damaged"})
    with pytest.raises(LakeError):
        take(delivered / "d.tar.gz")


def large(path, byte_count, monkeypatch):
    """A CSV file that is copied as large ones are, in many blocks."""
    monkeypatch.setattr(staged_folder, "_BUFFER_BYTES", 1)
    monkeypatch.setattr(staged_folder, "LARGE_BYTES", 1)
    monkeypatch.setattr(large_files, "_FLUSH_BYTES", 2**21)
    row = b"1,some text\n"
    path.write_bytes(b"a,b\n" + row * (byte_count // len(row)))
    return path


def test_a_large_file_is_copied_and_hashed(tmp_path, monkeypatch):
    source = large(tmp_path / "large.csv", 24 * 2**20, monkeypatch)
    files = tmp_path / "files"
    files.mkdir()
    (staged,) = collect(source, files, ReadOptions()).files
    content = source.read_bytes()
    assert (files / "large.csv").read_bytes() == content
    assert (staged.byte_count, staged.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_large_file_that_grows_while_it_is_copied_is_not_staged(tmp_path, monkeypatch):
    source = large(tmp_path / "large.csv", 8 * 2**20, monkeypatch)

    def grow(path):
        with source.open("ab") as file:
            file.write(b"2,more\n")

    monkeypatch.setattr(large_files, "_begin_flush", grow)
    files = tmp_path / "files"
    files.mkdir()
    with pytest.raises(StorageUnavailable, match="changed while it was read"):
        collect(source, files, ReadOptions())
    assert list(files.iterdir()) == []


def test_a_large_file_for_which_there_is_no_room_is_not_staged(tmp_path, monkeypatch):
    source = large(tmp_path / "large.csv", 8 * 2**20, monkeypatch)
    files = tmp_path / "files"
    files.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**22, before[1]))
    try:
        with pytest.raises(StorageUnavailable, match="File too large"):
            collect(source, files, ReadOptions())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(files.iterdir()) == []
