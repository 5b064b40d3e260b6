# Copyright (c) CellVTA-MMSeg contributors.
"""Damages small files of every kind that is read, and reads them.

Each reading must end in a value of the right kind, or in one sentence that names the
file (ValueError or OSError), within 60 s and 2 GB, and a conversion that is refused
must leave nothing under its final name. Everything follows from the number of a mutant,
so that one that fails can be repeated: `--first 1234 --mutants 1`.

Example:
    python tests/fuzzing.py --mutants 5000
"""
import argparse
import io
import os
import random
import re
import resource
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path

TIME_S, MEMORY_BYTES = 60, 2 << 30  # of one reading
VALUE, REFUSED, FAULT = 'value', 'refused', 'fault'
LONGEST_SENTENCE = 10_000  # characters; it may quote the file
NUMBER = re.compile(rb'-?\d+(?:\.\d+)?')
NUMBERS = (b'0', b'-1', b'3', b'99999999999999999999', b'1e308', b'-1e308', b'1e999',
           b'NaN', b'Infinity', b'null', b'true', b'"7"', b'[]', b'{}', b'4294967296')
WORDS = (b'\xff\xfe', b'\xef\xbb\xbf', b'\x00', b'\r\n', b'"', b"'", b',', b'null',
         b'<!DOCTYPE a [<!ENTITY b "c">]>',
         b'encoding="ebcdic-none"', 'µ'.encode('latin-1'), 'ü'.encode(), b']', b'}')
DEEP = {b'{': (b'[' * 20000, b'{"a":' * 20000), b'<': (b'<a>' * 20000, )}
SIZES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 100_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: VALUE, REFUSED or FAULT, and why."""
    kind: str
    number: int
    result: str
    text: str = ''


# ---- damage ----


def mutate(data: bytes, others: Sequence[bytes], number: int) -> bytes:
    """Returns a damaged file.

    Args:
        data: The intact file.
        others: Intact files of all kinds, for headers of another kind.
        number: Decides how.
    """
    rng = random.Random(number)
    if zipfile.is_zipfile(io.BytesIO(data)) and rng.random() < 0.5:
        return _mutate_member(data, others, rng)
    result = _mutate_bytes(data, others, rng)
    if data.startswith(b'\x89PNG') and rng.random() < 0.7:
        result = _with_png_checksums(result)
    return result


def _mutate_bytes(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    ways = [_flip, _flip, _truncate, _swap_header, _huge, _huge, _splice, _whole_other]
    if not data or b'\x00' not in data:  # a text
        ways = [_flip, _truncate, _swap_header, _splice, _whole_other, *[_retype] * 5]
    return rng.choice(ways)(data, others, rng)


def _flip(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Other bits; half of the time near the start, where headers are."""
    result = bytearray(data)
    end = len(data) if rng.random() < 0.5 else min(len(data), 200)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        result[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(result)


def _truncate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    return data[:rng.choice([0, rng.randrange(min(len(data), 40)),
                             rng.randrange(len(data)), len(data) - 1])]


def _swap_header(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    size = rng.choice([2, 4, 8, 32, 128])
    return rng.choice(others)[:size] + data[size:]


def _whole_other(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    return rng.choice(others)


def _huge(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A number that may be a size, at any place."""
    width, order = rng.choice([2, 4, 4, 8]), rng.choice(['little', 'big'])
    value = rng.choice(SIZES) & ((1 << 8 * width) - 1)
    end = len(data) if rng.random() < 0.3 else min(len(data), 300)
    place = rng.randrange(max(end - width, 1))
    return data[:place] + value.to_bytes(width, order) + data[place + width:]


def _splice(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A piece left out, doubled, zeroed or replaced by noise."""
    start = rng.randrange(len(data))
    end = min(start + rng.choice([1, 4, 50, 1000]), len(data))
    piece = rng.choice([b'', 2 * data[start:end], bytes(end - start),
                        rng.randbytes(end - start)])
    return data[:start] + piece + data[end:]


def _retype(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Another value for a number, or a word in between."""
    found = list(NUMBER.finditer(data))
    if found and rng.random() < 0.6:
        match = rng.choice(found)
        return data[:match.start()] + rng.choice(NUMBERS) + data[match.end():]
    pieces = list(re.finditer(rb'"[^"]*"|\[[^\[\]]*\]|\{[^{}]*\}|\w+', data))
    if pieces and rng.random() < 0.6:
        match = rng.choice(pieces)
        words = NUMBERS + WORDS + DEEP.get(data[:1], ())
        return data[:match.start()] + rng.choice(words) + data[match.end():]
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice(WORDS) + data[place:]


def _mutate_member(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Damages one file inside an archive, whose checksums are right afterwards."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(
            changed, 'w') as new:
        names = old.namelist()
        chosen = rng.choice([name for name in names if old.read(name)])
        for name in names:
            content = old.read(name)
            new.writestr(name, _mutate_bytes(content, others, rng)
                         if name == chosen else content)
    return changed.getvalue()


def _with_png_checksums(data: bytes) -> bytes:
    """Corrects the checksums of chunks, without which damage ends at the first one."""
    result, place = bytearray(data), 8
    while place + 12 <= len(result):
        size = int.from_bytes(result[place:place + 4], 'big')
        end = place + 8 + size
        if end + 4 > len(result):
            break
        result[end:end + 4] = zlib.crc32(result[place + 4:end]).to_bytes(4, 'big')
        place = end + 4
    return bytes(result)


# ---- reading ----


def read_mutant(reader: Callable[[Path], None], path: Path) -> tuple[str, str]:
    """Reads a file, and judges how that ends."""
    try:
        reader(path)
    except (ValueError, OSError) as error:
        said = str(error)
        if path.name not in said and str(path.parent) not in said:
            return FAULT, f'does not name the file:\n{traceback.format_exc()}'
        if '\n' in said or len(said) > LONGEST_SENTENCE:
            return FAULT, f'is not one sentence: {said[:500]!r}'
        return REFUSED, said
    except BaseException:
        return FAULT, traceback.format_exc()
    return VALUE, ''


def run_mutant(number: int, originals: dict[str, bytes], kinds: Sequence[str],
               folder: Path) -> Outcome:
    """Makes a mutant, lets it be read, and removes it."""
    from fuzzed_kinds import KINDS
    name = kinds[number % len(kinds)]
    kind = KINDS[name]
    # Readers remember files by path.
    place = folder / f'{number}'
    place.mkdir()
    path = place / kind.file
    path.write_bytes(mutate(originals[name], list(originals.values()), number))
    result, text = read_mutant(kind.read, path)
    for rest in sorted(place.rglob('*'), reverse=True):
        if rest.is_dir() and not rest.is_symlink():
            rest.rmdir()
        else:
            rest.unlink()
    place.rmdir()
    return Outcome(name, number, result, text)


def _work(sender: Connection, numbers: Sequence[int], originals: dict[str, bytes],
          kinds: Sequence[str], folder: Path) -> None:
    """Answers each number, in a process whose memory is limited."""
    import cv2
    cv2.setNumThreads(0)  # its threads did not come along
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with open(os.devnull, 'w') as silence:  # libraries that complain by themselves
        os.dup2(silence.fileno(), 2)
        os.dup2(silence.fileno(), 1)
    for number in numbers:
        sender.send(run_mutant(number, originals, kinds, folder))


class _Worker:
    """A process that reads mutants one after the other; replaced when it dies or hangs.

    Args:
        queue: Numbers of its mutants; those that have an outcome are taken out.
        arguments: The other arguments of `_work`.
    """

    def __init__(self, queue: list[int], *arguments) -> None:
        self.queue = queue
        self.arguments = arguments
        self._start()

    def _start(self) -> None:
        context = get_context('fork')  # importing all readers takes seconds
        self.receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_work, args=(sender, self.queue, *self.arguments))
        self.process.start()
        sender.close()
        self.since = time.monotonic()

    def answer(self) -> Outcome | None:
        """Returns the next outcome; None if there is none yet."""
        if self.receiver.poll():
            try:
                outcome = self.receiver.recv()
            except EOFError:
                self.process.join()
                why = f'died with exit code {self.process.exitcode}'
            else:
                self.since = time.monotonic()
                self.queue.remove(outcome.number)
                return outcome
        elif time.monotonic() - self.since > TIME_S:
            why = f'took more than {TIME_S} s'
        else:
            return None
        self.end()
        number = self.queue.pop(0)
        if self.queue:
            self._start()
        return Outcome('', number, FAULT, f'its process {why}')

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.receiver.close()


def run(numbers: range, kinds: Sequence[str], workers: int = 1) -> Iterator[Outcome]:
    """Yields what became of each mutant."""
    from fuzzed_kinds import write_originals
    with tempfile.TemporaryDirectory() as folder:
        originals = write_originals(Path(folder))
        queues = [list(numbers[index::workers]) for index in range(workers)]
        pool = [_Worker(queue, originals, kinds, Path(folder)) for queue in queues
                if queue]
        try:
            while pool:
                wait([worker.receiver for worker in pool], 1)
                for worker in list(pool):
                    outcome = worker.answer()
                    if outcome is not None:
                        yield replace(outcome, kind=kinds[outcome.number % len(kinds)])
                    if not worker.queue:
                        worker.end()
                        pool.remove(worker)
        finally:
            for worker in pool:
                worker.end()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--mutants', type=int, default=5000)
    parser.add_argument('--first', type=int, default=0, help='number of the first')
    parser.add_argument('--workers', type=int, default=os.cpu_count())
    parser.add_argument('--kinds', nargs='+', help='(default: all; other mutants)')
    args = parser.parse_args()
    from fuzzed_kinds import KINDS
    kinds = args.kinds or list(KINDS)
    counts, faults = Counter(), []
    for outcome in run(range(args.first, args.first + args.mutants), kinds,
                       args.workers):
        counts[outcome.kind, outcome.result] += 1
        if outcome.result == FAULT:
            faults.append(outcome)
    for kind in kinds:
        print(f'{kind:<18}', *(f'{result} {counts[kind, result]:>5}'
                               for result in (VALUE, REFUSED, FAULT)))
    for fault in faults:
        print(f'\n{fault.kind}, --first {fault.number}: {fault.text}')
    print(f'\n{sum(counts.values())} mutants, {len(faults)} faults')
    sys.exit(bool(faults))


if __name__ == '__main__':
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / 'tests')]
    main()
