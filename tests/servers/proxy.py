"""A TCP proxy that can stop passing on, and cut: a network in the test's hand."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class Proxy:
    """Passes bytes between its own port and a server's, until told otherwise."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.port: int = self._listener.getsockname()[1]
        self.silent = threading.Event()
        self.refusing = threading.Event()
        self.stopped = 0
        """How often somebody wanted to be heard, and was not."""
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close every connection; new ones are passed on again."""
        self.silent.clear()
        self.refusing.clear()
        self._close_all()

    def refuse(self) -> None:
        """Close every connection, and each new one at once, until :meth:`cut`."""
        self.refusing.set()
        self._close_all()

    def _close_all(self) -> None:
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refusing.is_set():
                    self.stopped += 1
                    client.close()
                    continue
                pair = client, socket.create_connection(self._target)
                self._pairs.append(pair)
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with contextlib.suppress(OSError, ValueError):
            while True:
                for end in select.select([client, server], [], [], 0.5)[0]:
                    if not (data := end.recv(65536)):
                        other[end].shutdown(socket.SHUT_RDWR)
                        return
                    if self.silent.is_set():  # what comes while it is silent is lost
                        self.stopped += 1
                    else:
                        other[end].sendall(data)
