"""Applying a model to the rows of a table, so that each gets, to the last bit, what it gets alone.

One by one, or many at a time where few draws of a row do not fill the matrix products.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from sklearn import get_config
from torch import Tensor

from .._utils.runtime import inference
from .._utils.threads import map_in_threads
from ..tables.schema import EncodedRows
from ..vae.vae import VAE
from .adaptive import n_adaptation_draws
from .conditional import ConditionalModel
from .importance import BLOCK
from .weights import needs_adaptation

_log = logging.getLogger("skmissvae")


_TOGETHER = 64  # rows that a thread takes at a time, one by one


_LANES = 32  # numbers that processors take at a time, at most


_FEW_LATENTS = 32  # with which proposals are adapted faster for many rows at a time


_BYTES_PER_ENTRY = 40  # of a guide's matrices, in double precision


_BYTES_PER_POINT = 100  # of a latent of a draw to which a proposal is adapted


_BYTES_PER_OUTPUT = 160  # of the decoder, that a draw takes; half as many or fewer but for warps


class _Tile(NamedTuple):
    """What is taken at a time, at most."""

    draws: int
    rows: int


# Of more than 128 draws a row's own fill the products of a processor, and the tile of a single row
# takes no longer than a row of 1,000 draws. A GPU needs more to be busy.
_TILE, _DEVICE_TILE = _Tile(2**12, 2**7), _Tile(2**16, 2**12)


#: What is asked of a row: (model, x (1, D), observed (1, D), its position) -> tensors (1, ...).
RowFunction = Callable[[ConditionalModel, Tensor, Tensor, int], tuple[Tensor, ...]]


#: Of rows at a time: (model, x (B, D), observed (B, D), their positions) -> tensors (B, ...).
TileFunction = Callable[[ConditionalModel, Tensor, Tensor, Sequence[int]], tuple[Tensor, ...]]


#: Of rows by their importance weights, one or many. The effective number of draws comes last but
#: one, and last that by which proposals are judged, without bounds.
WeightFunction = Callable[[ConditionalModel, Tensor, Tensor, Sequence[int]], tuple[Tensor, ...]]


def row_by_row(
    rows: EncodedRows,
    function: RowFunction,
    given: ConditionalModel,
    device: torch.device,
    which: Iterable[int] | None = None,
) -> list[np.ndarray]:
    """Apply a function to one row after the other and put its outcomes together.

    ``which`` names the rows; None takes all.

    The draws of a single row fill the matrix products. Matrix libraries choose other kernels,
    with other last bits, by a row's place in a product and by the number of threads: alone,
    and by one thread, a row's result is its own by construction.
    """
    given = given.to(device)
    x, observed = rows.tensors(device)
    places = range(len(x)) if which is None else list(which)

    def some(few: Sequence[int]) -> list[np.ndarray]:
        nonlocal given
        rows = []
        with inference(device):
            # what an outcome looks like tells the first row, where none is asked for
            waiting = list(few or [0])
            while waiting:
                i = waiting[0]
                try:
                    rows.append(function(given, x[i : i + 1], observed[i : i + 1], i))
                except torch.OutOfMemoryError:  # of a GPU, which others may share
                    if given.held == 1:
                        raise
                    given = given._replace(held=max(min(given.held, given.n_draws) // 2, 1))
                else:
                    waiting.pop(0)
            found = [torch.cat(one).cpu().numpy() for one in zip(*rows, strict=True)]
        return found if few else [one[:0] for one in found]

    starts = range(0, len(places), _TOGETHER)
    parts = [places[start : start + _TOGETHER] for start in starts] or [places]
    # what is found does not pile up on a GPU, which one thread keeps busy
    found = map_in_threads(some, parts) if device.type == "cpu" else list(map(some, parts))
    return [np.concatenate(one) for one in zip(*found, strict=True)]


def by_weights(
    rows: EncodedRows,
    function: WeightFunction,
    given: ConditionalModel,
    device: torch.device,
    which: Iterable[int] | None = None,
    *,
    chains: bool = True,
) -> list[np.ndarray]:
    """Apply a function of importance weights to rows and put its outcomes together.

    Few draws of a row do not fill the matrix products: many rows are taken at a time then, and
    those whose weights are poor once more, with proposals that are adapted. What runs chains,
    unless ``chains`` is false, takes rows alone. Which way a row goes depends on the settings
    of the call, and on itself.
    """
    places = np.arange(len(rows.x)) if which is None else np.array(list(which), dtype=np.intp)
    chains = chains and given.sampler is not None
    size = 0 if chains and not given.where_poor else _tile(given, device)
    many = given.row_invariant() if size else None

    def alone(places: np.ndarray) -> list[np.ndarray]:
        return row_by_row(rows, lambda g, x, o, i: function(g, x, o, [i]), given, device, places)

    def put(into: np.ndarray, made: list[np.ndarray]) -> None:
        for one, part in zip(found, made, strict=True):
            one[into] = part

    seen = np.flatnonzero(rows.observed[places].any(1))
    told = None
    if many is not None and len(seen):
        told = tile_by_tile(rows, function, many, device, places[seen], size)
    if many is None or told is None:
        return alone(places)[:-1]
    found = told
    if len(seen) < len(places):
        found = [np.empty((len(places), *one.shape[1:]), one.dtype) for one in told]
        put(seen, told)
    again = seen[needs_adaptation(torch.from_numpy(found[-1][seen]), given.n_draws).numpy()]
    rest = np.ones(len(places), dtype=bool)
    rest[seen] = False
    better = None
    if len(again) and _adapts_tiles(given):
        adapted = many._replace(adapt="always")
        better = tile_by_tile(rows, function, adapted, device, places[again], _LANES)
    if better is None:
        rest[again] = True
    else:
        put(again, better)
    if chains:
        poor = given.is_poor(torch.from_numpy(found[-2][seen])).numpy()
        rest[seen] |= poor & ~rows.observed[places[seen]].all(1)
    if rest.any():
        put(rest, alone(places[rest]))
    return found[:-1]


def tile_by_tile(
    rows: EncodedRows,
    function: TileFunction,
    given: ConditionalModel,
    device: torch.device,
    places: np.ndarray,
    size: int = 2 * _LANES,
) -> list[np.ndarray] | None:
    """Apply a function to so many rows at a time; the last ones are filled up.

    The model is one that takes rows together, and the size a multiple of ``_LANES``. None where a
    GPU has no room for so many.
    """
    given = given.to(device)
    x, observed = rows.tensors(device)

    def some(few: np.ndarray) -> list[np.ndarray]:
        pad_to_cache_line = np.pad(few, (0, size - len(few)), mode="edge")
        at = torch.from_numpy(pad_to_cache_line).to(device)
        with inference(device):
            outcome = function(given, x[at], observed[at], pad_to_cache_line.tolist())
            return [part[: len(few)].cpu().numpy() for part in outcome]

    parts = [places[i : i + size] for i in range(0, len(places), size)]
    try:
        # a GPU is kept busy by one thread, and its libraries are not loaded safely by several
        made = map_in_threads(some, parts) if device.type == "cpu" else list(map(some, parts))
    except torch.OutOfMemoryError:  # others may share it
        _log.info("no room for %d rows at a time: they are taken one by one", size)
        return None
    return [np.concatenate(one) for one in zip(*made, strict=True)]


def _tile(given: ConditionalModel, device: torch.device) -> int:
    """Return how many rows are taken at a time; 0 stands for one by one."""
    if given.n_draws > BLOCK:
        return 0
    tile = _TILE if device.type == "cpu" else _DEVICE_TILE
    room = min(_room(given.vae, 1 if given.bounds is None else 2), tile.draws)
    # a guide has matrices of each row
    matrices = _limit() // (_BYTES_PER_ENTRY * (given.vae.prior.n_latents + 8) ** 2)
    most = min(room // given.n_draws, matrices, tile.rows)
    # what is left at the end of a tensor, when a processor has taken its numbers by so many at
    # a time, is computed by other code with other last bits: nothing is left
    return most // _LANES * _LANES


def _adapts_tiles(given: ConditionalModel) -> bool:
    """Tell whether proposals of many rows are adapted at a time.

    Of many latents a row's own draws are enough to do, and take much memory.
    """
    n_latents = given.vae.prior.n_latents
    n_all = given.n_draws + n_adaptation_draws(given.n_draws, n_latents)
    per_draw = max(_BYTES_PER_POINT * n_latents, _bytes_per_draw(given.vae))
    return n_latents <= _FEW_LATENTS and _LANES * n_all * per_draw <= _limit()


def draws_at_once(vae: VAE, times: int = 1) -> int:
    """Return how many draws of a row are held, each of which takes ``times`` as much as usual."""
    return max(min(_room(vae, times), BLOCK), 1)


def _room(vae: VAE, times: int) -> int:
    """Return how many draws ``sklearn.set_config(working_memory=...)`` lets us hold."""
    return _limit() // (times * _bytes_per_draw(vae))


def _bytes_per_draw(vae: VAE) -> int:
    return _BYTES_PER_OUTPUT * max(1, vae.likelihood.n_params)


def _limit() -> int:
    """Return the bytes that scikit-learn's ``working_memory`` gives what a thread has in hand."""
    return int(get_config()["working_memory"] * 2**20)
