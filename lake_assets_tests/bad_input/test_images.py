"""Images that are damaged, and images that are bombs."""

from __future__ import annotations

import io

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from lake_assets_tests.bad_input import image_corpus as corpus
from lake_assets_tests.bad_input.bench import SEED, sampled

SAMPLES = corpus.samples()
GOOD = {f"good-{n}.png": corpus.encoded(corpus.pixels(100 + n), "PNG") for n in range(3)}


def in_one_folder(bench, files):
    folder = bench.folder()
    for name, data in {**files, **GOOD}.items():
        (folder / name).write_bytes(data)
    return folder


def deliver(bench, files):
    """Deliver files beside good ones; return the names of those that were rejected."""
    verdict = bench.deliver(in_one_folder(bench, files))
    assert verdict.kind == "done"
    assert verdict.rows_in == len(files) + len(GOOD)
    assert GOOD.keys().isdisjoint(verdict.rules)
    return verdict.rules


def looks_as(data, whole):
    """Tell whether a damaged image decodes, with nothing forgiven, to the pixels of a whole one."""
    with Image.open(io.BytesIO(data)) as image, Image.open(io.BytesIO(whole)) as other:
        return image.convert("RGBA").tobytes() == other.convert("RGBA").tobytes()


def test_a_cut_image_is_rejected_or_lacks_nothing(bench):
    cuts = {
        f"{at:04}-{name}": (data, SAMPLES[name])
        for name in SAMPLES
        for at, data in corpus.truncated(SAMPLES[name], sampled(10, 1))
    }
    rejected = deliver(bench, {name: data for name, (data, _) in cuts.items()})
    accepted = {name: pair for name, pair in cuts.items() if name not in rejected}
    assert len(accepted) < len(cuts) / 3
    assert [name for name, (data, whole) in accepted.items() if not looks_as(data, whole)] == []
    assert set(rejected.values()) <= {
        "image_is_readable", "image_is_complete", "file_is_an_image", "image_format_is_known"
    }  # fmt: skip


# A flipped bit may still be a picture; that nothing worse happens is what is shown here.
@seed(SEED)
@settings(
    max_examples=sampled(2, 40),
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    flips=st.lists(
        st.tuples(st.sampled_from(sorted(SAMPLES)), st.integers(0, 2**16), st.integers(1, 255)),
        min_size=100,
        max_size=200,
    )
)
def test_an_image_with_flipped_bits_is_accepted_or_rejected(bench, flips):
    files = {
        f"{number:04}-{name}": corpus.flipped(SAMPLES[name], place, mask)
        for number, (name, place, mask) in enumerate(flips)
    }
    deliver(bench, files)


def test_bombs_are_rejected_or_only_their_first_frame_is_decoded(bench):
    rejected = deliver(bench, corpus.bombs())
    assert set(corpus.bombs()) - set(rejected) == {"frames.gif", "directories.tiff"}
    assert rejected["pixels_real.png"] == "image_is_within_pixel_limit"
    assert bench.peak_bytes < 600 * 2**20


def test_files_of_no_bytes_are_rejected(bench):
    names = ["a.jpg", "b.png", "c.webp", "d.tiff", "e.gif"]
    rejected = deliver(bench, dict.fromkeys(names, b""))
    assert rejected == dict.fromkeys(names, "file_is_not_empty")


@pytest.mark.parametrize("name", ["a.jpg", "b.png"])
def test_a_file_of_no_bytes_alone_is_rejected(bench, name):
    assert bench.deliver(bench.file(name, b"")).counts == (1, 0, 1, 0)


def test_an_image_in_disguise_is_what_its_bytes_are(bench):
    files = {
        "html.jpg": b"<!doctype html><title>404</title>" * 10,
        "png.jpg": SAMPLES["rgb.png"],
        "elf.png": b"\x7fELF" + b"\0" * 500,
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    rejected = deliver(bench, files)
    assert set(rejected) == set(files) - {"png.jpg"}
