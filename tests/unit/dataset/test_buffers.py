"""Memory for images is given out again when nobody can see it any more, and not before."""

from __future__ import annotations

import gc
import weakref

from jobs.dataset.buffers import Buffers


def address(images: object) -> int:
    return int(images.__array_interface__["data"][0])  # type: ignore[attr-defined]


def test_memory_that_nobody_holds_is_given_out_again() -> None:
    buffers = Buffers()
    first = buffers.take(4, 8)
    assert first.shape == (4, 8, 8, 3)
    place = address(first)
    del first
    gc.collect()
    assert address(buffers.take(4, 8)) == place


def test_a_part_of_an_array_holds_its_memory() -> None:
    buffers = Buffers()
    images = buffers.take(4, 8)
    images[:] = 7
    part = images[1:3][:, ::2]
    del images
    gc.collect()
    buffers.take(4, 8)[:] = 9
    assert (part == 7).all()


def test_arrays_of_different_sizes_do_not_share_memory() -> None:
    buffers = Buffers()
    small, large = buffers.take(1, 8), buffers.take(2, 8)
    small[:], large[:] = 1, 2
    assert (small == 1).all()
    assert (large == 2).all()


def test_what_is_forgotten_keeps_no_memory() -> None:
    buffers = Buffers()
    images = buffers.take(4, 8)
    buffers.forget()
    kept = weakref.ref(images.base)
    del images
    gc.collect()
    assert kept() is None
    assert not buffers._free


def test_arrays_of_many_sizes_use_the_same_memory() -> None:
    """Row groups of which only some images are wanted have any number of them."""
    buffers = Buffers()
    places = set()
    for count in (64, *range(64)):
        places.add(address(buffers.take(count, 8)))
    assert len(places) == 1
