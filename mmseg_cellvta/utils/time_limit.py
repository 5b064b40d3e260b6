# Copyright (c) CellVTA-MMSeg contributors.
"""Work that must be over by a certain time."""
import os
import pickle
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

GRACE_S = 10  # for a process that has answered to end by itself


class Deadline:
    """A point of time.

    Args:
        seconds: How far away it is, s.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Returns how far away it is now, s; below 0 when it has passed."""
        return self._end - time.monotonic()


def run_apart(function: Callable[[], Any], seconds: float) -> Any:
    """Calls a function in a process of its own, which is ended when it takes too long.

    The process starts anew, without anything of this one, and may start others: they
    end with it.

    Args:
        function: Can be pickled, and so can what it returns.
        seconds: Time for all of it, the start included, s.

    Raises:
        TimeoutError: When it takes longer.
        ChildProcessError: When the process dies.
        Exception: Whatever the function raises.
    """
    context = get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function))
    process.start()
    sender.close()  # so that the death of the process ends the wait
    try:
        if not receiver.poll(max(seconds, 0)):
            raise TimeoutError(f'was not done after {seconds:.0f} s and was stopped')
        result, error = receiver.recv()
        process.join(GRACE_S)
    except EOFError:
        process.join()
        raise ChildProcessError(
            f'its process died with exit code {process.exitcode}') from None
    finally:
        _end(process)
        receiver.close()
    if error is not None:
        raise error
    return result


def end_with_parent(end: Callable[[], Any]) -> None:
    """Calls `end` in this process when its parent ends, even if that is killed."""
    def wait() -> None:
        parent_process().join()
        end()

    Thread(target=wait, daemon=True).start()


def _answer(sender: Connection, function: Callable[[], Any]) -> None:
    """Sends what a function returns, or the exception that it raises."""
    os.setsid()  # a group of its own, with all processes that come
    end_with_parent(partial(os.killpg, 0, signal.SIGKILL))
    try:
        answer = function(), None
    except Exception as error:
        answer = None, error
    try:
        pickle.loads(pickle.dumps(answer))
    except Exception:  # some exceptions cannot be sent
        error = answer[1] or TypeError('its result cannot be sent')
        answer = None, RuntimeError(f'{type(error).__name__}: {error}')
    sender.send(answer)


def _end(process: BaseProcess) -> None:
    """Ends a process and those that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # all have ended, or it is not yet a group
        process.kill()
    process.join()
