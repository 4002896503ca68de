"""Fetching: blocks out of packs, by windows where they are read here and there, or many at once."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Final, NamedTuple, TypeVar

from castore.content.deltas import FAR_BLOCKS, StoredObject
from castore.errors import CorruptObject, ObjectNotFound
from castore.model.ids import Id
from castore.model.limits import BLOCK_RAW_BYTES, KIB, MIB, PACK_BYTES, PACK_FULL_BYTES
from castore.remote.index import Catalogue, PackName, Spot
from castore.remote.keys import pack_key
from castore.remote.transport import Gone, KeyAbsent, Transport
from castore.remote.waiting import result_of

Result = TypeVar("Result")
Bytes = TypeVar("Bytes", bytes, memoryview)

_WINDOW: Final = 2 * MIB
_WINDOWS: Final = 24
# A full pack takes three requests, with no small rest.
_RANGE_BYTES: Final = PACK_FULL_BYTES // 3 + MIB
_GAP_BYTES: Final = 128 * KIB
_THREADS: Final = 4
_AHEAD: Final = 5
_STORED_MAX: Final = 2 * BLOCK_RAW_BYTES


class FetchedBlock(NamedTuple):
    """A block as it came, where it lies among others: nothing of it was checked."""

    spot: Spot
    data: memoryview


class BlockFetcher:
    """Fetches blocks; safe for several threads. Keeps the windows read last, up to 48 MiB."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = Lock()
        self._windows: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self.requests = 0
        self.bytes = 0

    def block(self, spot: Spot) -> bytes:
        """One block, by way of the window it lies in; raises CorruptObject for one cut short."""
        _bounded(spot)
        key = pack_key(*spot.pack)
        end = spot.offset + spot.stored
        first, last = spot.offset // _WINDOW, (end - 1) // _WINDOW
        data = b"".join([self._window(key, number) for number in range(first, last + 1)])
        start = spot.offset - first * _WINDOW
        return _whole(spot, data[start : start + spot.stored])

    def each(
        self, spots: Iterable[Spot], use: Callable[[list[FetchedBlock]], Result]
    ) -> Iterator[Result]:
        """What `use` makes of some blocks at a time: packs as they come, each from its beginning.

        `use` runs in threads, some runs ahead.
        """
        packs: dict[PackName, list[Spot]] = {}
        for spot in spots:
            packs.setdefault(spot.pack, []).append(spot)
        runs = _runs(spot for pack in packs.values() for spot in sorted(pack, key=_offset))
        flying: deque[Future[Result]] = deque()

        def fetch(run: Sequence[Spot]) -> Result:
            return use(self._run(run))

        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                for run in runs:
                    flying.append(pool.submit(fetch, run))
                    if len(flying) >= _AHEAD:
                        yield result_of(flying.popleft())
                while flying:
                    yield result_of(flying.popleft())
            except KeyboardInterrupt:
                # Nobody waits for an answer that may take minutes.
                self._transport.close()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, run: Sequence[Spot]) -> list[FetchedBlock]:
        start = run[0].offset
        length = run[-1].offset + run[-1].stored - start
        data = memoryview(self._get(pack_key(*run[0].pack), start, length))
        found = []
        for spot in run:
            at = spot.offset - start
            found.append(FetchedBlock(spot, _whole(spot, data[at : at + spot.stored])))
        return found

    def _window(self, key: str, number: int) -> bytes:
        place = key, number
        with self._lock:
            kept = self._windows.get(place)
            if kept is not None:
                self._windows.move_to_end(place)
                return kept
        data = self._get(key, number * _WINDOW, _WINDOW)
        with self._lock:
            self._windows[place] = data
            while len(self._windows) > _WINDOWS:
                self._windows.popitem(last=False)
        return data

    def _get(self, key: str, start: int, length: int) -> bytes:
        try:
            data = self._transport.get(key, start, length).data
        except KeyAbsent:
            raise Gone(
                f"{self._transport.url}: {key}, which an index names, is gone", where=key
            ) from None
        with self._lock:
            self.requests += 1
            self.bytes += len(data)
        return data


class FarObjects:
    """Objects of a bucket as a reader loads them."""

    def __init__(self, catalogue: Catalogue, fetcher: BlockFetcher) -> None:
        self.catalogue = catalogue
        self._fetcher = fetcher
        self._numbers: dict[tuple[bytes, Id, int], int] = {}
        self._lock = Lock()

    def load(self, id: Id) -> StoredObject:
        """The block an object lies in; raises ObjectNotFound, CorruptObject."""
        found = self.catalogue.find(id)
        if found is None:
            raise ObjectNotFound(f"no object {id.hex()} in the bucket", id=id.hex())
        spot, slot, kind = found
        place = (*spot.pack, spot.offset)
        with self._lock:
            number = self._numbers.setdefault(place, FAR_BLOCKS + len(self._numbers))
        return StoredObject(kind, number, slot, self._fetcher.block(spot))


def spot_place(spot: Spot) -> str:
    """How a block of a pack is called in messages."""
    return f"the block at {spot.offset} of pack {spot.pack.id.hex()}"


def _offset(spot: Spot) -> int:
    return spot.offset


def _runs(spots: Iterable[Spot]) -> Iterator[list[Spot]]:
    """Blocks that are fetched at once: near each other in one pack, up to 9 MiB."""
    run: list[Spot] = []
    for spot in spots:
        _bounded(spot)
        if run:
            last = run[-1]
            gap = spot.offset - last.offset - last.stored
            size = spot.offset + spot.stored - run[0].offset
            if spot.pack != last.pack or not 0 <= gap <= _GAP_BYTES or size > _RANGE_BYTES:
                yield run
                run = []
        run.append(spot)
    if run:
        yield run


def _bounded(spot: Spot) -> None:
    if not 0 < spot.stored <= _STORED_MAX or spot.offset >= PACK_BYTES:
        raise CorruptObject(f"{spot_place(spot)} cannot have {spot.stored} bytes", where="index")


def _whole(spot: Spot, data: Bytes) -> Bytes:
    if len(data) != spot.stored:
        raise CorruptObject(f"{spot_place(spot)} is cut short", where=spot.pack.id.hex())
    return data
