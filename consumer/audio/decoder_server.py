"""The process behind the decoder: it imports PyAV once and forks the processes that decode.

A fresh interpreter with PyAV costs over 100 ms of CPU, a fork with the page faults after it 12, decoding
8 s of speech 5. So a forked process decodes recordings one after another, but only as long as every one is
clean: after damage, a refusal, or ``RECORDINGS_PER_PROCESS`` of them it ends, and the next recording gets a
new one. Whatever a broken file does to FFmpeg ends one process and one recording. The server itself never
reads a byte of a recording.

It is started by ``decoder_process`` as ``python -m consumer.audio.decoder_server FD PARENT_PID``, with a
socket as FD on which orders arrive. Beside each order travel three descriptors: the spool file, the write
end of the PCM pipe and a report socket. On the last, the process that decodes writes what it found, and the
server how that process ended, if it ended. Whoever ordered may close the report socket at any time: the
server then kills the process. End of file on the order socket ends the server and all it started.
"""

import gc
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from consumer.audio import sandbox
from consumer.audio.decode import Spool, decode
from consumer.audio.decoder_messages import (
    MAX_MESSAGE_BYTES,
    READY,
    AudioFacts,
    Exit,
    NotStarted,
    Order,
    Refusal,
    Report,
    encode_report,
)
from consumer.errors import Reason, Rejected

RECORDINGS_PER_PROCESS = 50
_DONE = b"d"


class _Rank(IntEnum):
    """Order in which events of one round are handled: a child's word came before what others did upon it."""

    DONE = 0
    ENDED = 1
    ABANDONED = 2
    ORDER = 3


@dataclass(frozen=True, slots=True)
class _Event:
    rank: _Rank
    react: Callable[[], None]


@dataclass(eq=False, slots=True)
class _Child:
    """A process that decodes, seen from the server. ``report`` is that of its recording, None while idle."""

    pidfd: int
    work: socket.socket
    report: socket.socket | None = None


class Server:
    """Takes orders from one socket until it closes."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._idle: list[_Child] = []
        self._ended = False
        self._selector = selectors.DefaultSelector()
        self._watch(orders, _Event(_Rank.ORDER, self._take_order))

    def serve(self) -> None:
        """Run until the order socket ends; the children then die with this process."""
        self._orders.send(READY)
        while not self._ended:
            ready = [key.data for key, _ in self._selector.select()]
            for event in sorted(ready, key=lambda event: event.rank):
                event.react()

    def _watch(self, source: socket.socket | int, event: "_Event") -> None:
        self._selector.register(source, selectors.EVENT_READ, event)

    def _take_order(self) -> None:
        order, descriptors, _, _ = socket.recv_fds(self._orders, MAX_MESSAGE_BYTES, 3)
        if not order:
            self._ended = True
            return
        report = socket.socket(fileno=descriptors[2])
        try:
            child = self._hand_over(order, descriptors)
        except OSError as error:
            _send(report, NotStarted(f"no process to decode in: {error.strerror}"))
            report.close()
        else:
            child.report = report
            # Nothing is sent on this socket from the other side: readable means closed.
            self._watch(report, _Event(_Rank.ABANDONED, lambda: self._abandon(child)))
        finally:
            os.close(descriptors[0])
            os.close(descriptors[1])

    def _hand_over(self, order: bytes, descriptors: list[int]) -> _Child:
        while self._idle:
            child = self._idle.pop()
            with suppress(OSError):  # it ended while idle
                socket.send_fds(child.work, [order], descriptors)
                return child
        child = self._fork()
        socket.send_fds(child.work, [order], descriptors)
        return child

    def _fork(self) -> _Child:
        work, its_work = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            work.close()
            its_work.close()
            raise
        if pid == 0:
            _run_child(its_work, server_pid)
        its_work.close()
        child = _Child(os.pidfd_open(pid), work)
        self._watch(child.pidfd, _Event(_Rank.ENDED, lambda: self._reap(child)))
        self._watch(child.work, _Event(_Rank.DONE, lambda: self._listen(child)))
        return child

    def _listen(self, child: _Child) -> None:
        """Hear that a child is done with its recording, or is about to end."""
        try:
            word = child.work.recv(len(_DONE))
        except ConnectionResetError:
            word = b""
        if word == _DONE:
            self._let_go_of_report(child)
            self._idle.append(child)
        else:
            self._selector.unregister(child.work)

    def _abandon(self, child: _Child) -> None:
        """Nobody waits for the recording any more: kill the child, unless it is done with it."""
        if child.report is not None:
            self._let_go_of_report(child)
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)

    def _reap(self, child: _Child) -> None:
        result = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
        if child.report is not None and result is not None:  # None only with WNOHANG
            exited = result.si_code == os.CLD_EXITED
            _send(child.report, Exit(result.si_status if exited else -result.si_status))
        self._let_go_of_report(child)
        if child in self._idle:
            self._idle.remove(child)
        self._selector.unregister(child.pidfd)
        with suppress(KeyError):
            self._selector.unregister(child.work)
        os.close(child.pidfd)
        child.work.close()

    def _let_go_of_report(self, child: _Child) -> None:
        if child.report is not None:
            self._selector.unregister(child.report)
            child.report.close()
            child.report = None


def _run_child(work: socket.socket, server_pid: int) -> None:
    """Decode recordings in the forked process, as long as they are clean; never returns."""
    status = 1
    try:
        sandbox.confine((work.fileno(),), parent_pid=server_pid)
        for remaining in reversed(range(RECORDINGS_PER_PROCESS)):
            if not _serve_one(work, last=remaining == 0):
                break
        status = 0
    finally:
        os._exit(status)


def _serve_one(work: socket.socket, *, last: bool) -> bool:
    """Decode the next recording; returns whether this process may take another."""
    order, descriptors, _, _ = socket.recv_fds(work, MAX_MESSAGE_BYTES, 3)
    if not order:
        return False
    spool, pcm, report_fd = descriptors
    with socket.socket(fileno=report_fd) as report:
        found = _decode(Order.from_bytes(order), spool, pcm, report)
        os.close(spool)
        os.close(pcm)
        goes_on = not last and isinstance(found, AudioFacts) and not found.damage
        if goes_on:
            work.send(_DONE)  # before the report: whoever waits for that may then close its end
        _send(report, found)
    return goes_on


def _decode(order: Order, spool: int, pcm: int, report: socket.socket) -> AudioFacts | Refusal:
    blocks = decode(
        Spool(spool, order.name),
        max_duration_seconds=order.max_duration_seconds,
        channel=order.channel,
        on_header=lambda header: _send(report, header),
    )
    try:
        while True:
            _write(pcm, next(blocks).tobytes())
    except StopIteration as end:
        facts: AudioFacts = end.value
        return facts
    except Rejected as error:
        return Refusal(error.reason, error.message)
    except Exception as error:  # noqa: BLE001 - the process ends here, its report is all that remains
        return Refusal(Reason.DECODE_FAILED, f"the decoder failed: {error!r}"[:500])


def _write(pcm: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pcm, view) :]


def _send(report: socket.socket, message: Report) -> None:
    with suppress(OSError):  # whoever asked has left
        report.send(encode_report(message))


def main() -> None:
    """Run the server; arguments are the descriptor of the order socket and the id of the parent."""
    order_fd, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    sandbox.die_with_parent(parent_pid)
    for number in (signal.SIGINT, signal.SIGTERM):  # a graceful stop is the worker's to lead
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()  # children then copy fewer pages
    with socket.socket(fileno=order_fd) as orders:
        Server(orders).serve()


if __name__ == "__main__":
    main()
