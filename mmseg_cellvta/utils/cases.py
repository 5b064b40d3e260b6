# Copyright (c) CellVTA-MMSeg contributors.
"""Cases of a check: each stands for itself, as many as there is time for."""
import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from .time_limit import Deadline, run_apart

# A case is left out when less is left, s. Starting a process takes about 15.
NEEDS_S, NEEDS_APART_S = 5, 40


@dataclass
class Result:
    """What a case has found.

    Attributes:
        figures: By name with unit, such as `images_per_s`; empty when it failed.
        remark: In one sentence what the figures do not say.
        broken: True when something that must hold does not.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    remark: str = ''
    broken: bool = False


@dataclass(frozen=True)
class Case:
    """One row of the report.

    Attributes:
        part: Its table.
        name: What is told apart in it.
        call: Finds it out.
        required: Where there is memory for it, it must work.
        apart: In a process of its own, which can be ended.
    """

    part: str
    name: str
    call: Callable[[], Result]
    required: bool = False
    apart: bool = False


def run_cases(cases: list[Case], deadline: Deadline) -> Iterator[tuple[Case, Result]]:
    """Yields the result of one case after the other, as long as there is time."""
    for case in cases:
        needed = NEEDS_APART_S if case.apart else NEEDS_S
        if deadline.left() < needed:
            yield case, Result(remark='left out: no time left')
            continue
        try:
            result = run_apart(
                case.call, deadline.left()) if case.apart else case.call()
        except Exception as error:
            full = isinstance(error, torch.cuda.OutOfMemoryError)
            result = Result({}, one_sentence(error), case.required and not full)
        _free_memory()  # here, where the frames of an exception no longer hold it
        yield case, result


def _free_memory() -> None:
    if torch.cuda.is_available():
        gc.collect()
        with suppress(RuntimeError):  # after some errors CUDA answers nothing any more
            torch.cuda.empty_cache()


def one_sentence(error: Exception) -> str:
    """Returns what an exception says, without addresses and advice on many lines."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return 'out of memory'
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = ' '.join(lines[:2])
    text = text if len(text) <= 200 else f'{text[:200]}...'
    return text if isinstance(error, (TimeoutError, ChildProcessError)) else (
        f'{type(error).__name__}: {text}')
