"""Services on loopback: each port of a Service gets a listener that leads to a ready pod."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from itertools import count

from kaito_laptop.core.cluster import Cluster, Event, Key, Manifest
from kaito_laptop.core.objects import get, labels, name, namespace

HOST = "127.0.0.1"
BLOCK_BYTES = 65536
Address = tuple[str, int]


class _Listener:
    """One port of one Service."""

    def __init__(self) -> None:
        self.targets: Sequence[Address] = ()
        self.port = 0
        self._turn = count()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        """The loop itself holds its tasks by weak references: one that waits could be collected."""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        targets = self.targets
        if not targets:
            writer.transport.abort()
            return
        target = targets[next(self._turn) % len(targets)]
        try:
            other_reader, other_writer = await asyncio.open_connection(*target)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))
        finally:
            writer.close()
            other_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, and its end."""
    try:
        while block := await reader.read(BLOCK_BYTES):
            writer.write(block)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):
        writer.close()


class ServiceProxy:
    """Keeps a listener for each port of each Service, in a thread of its own."""

    def __init__(
        self, cluster: Cluster, reach: Callable[[Address], Address] = lambda address: address
    ) -> None:
        """`reach` says where on this computer the address of a pod is, where pods have nominal ones."""
        self._reach = reach
        self._listeners: dict[tuple[Key, int], _Listener] = {}
        self._known: dict[Key, Manifest] = {}
        self._slices: dict[tuple[str, str], Manifest] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="services")
        self._thread.start()
        self._services = cluster.resource("v1", "Service")
        slices = cluster.resource("discovery.k8s.io/v1", "EndpointSlice")
        self._ends = [
            cluster.watch([self._services], self._service_changed),
            cluster.watch([slices], self._slice_changed),
        ]

    def url(self, service: str, port: int, namespace: str = "default") -> str | None:
        """Return the address on this computer of a port of a Service."""
        listener = self._listeners.get((Key(self._services, service, namespace), port))
        return f"http://{HOST}:{listener.port}" if listener else None

    def stop(self) -> None:
        """Close all listeners."""
        for end in self._ends:
            end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        for listener in self._listeners.values():
            listener.close()
        self._loop.run_until_complete(_end_tasks())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _service_changed(self, event: Event) -> None:
        service = event.object
        key = Key(self._services, name(service), namespace(service))
        deleted = event.type == "DELETED"
        wanted = set() if deleted else {int(p["port"]) for p in service["spec"].get("ports", [])}
        for known, port in list(self._listeners):
            if known == key and port not in wanted:
                listener = self._listeners.pop((known, port))
                self._loop.call_soon_threadsafe(listener.close)
        for port in wanted:
            if (key, port) not in self._listeners:
                listener = _Listener()
                asyncio.run_coroutine_threadsafe(listener.open(), self._loop).result()
                self._listeners[key, port] = listener
        self._known[key] = service
        if deleted:
            del self._known[key]
        self._point(key)

    def _slice_changed(self, event: Event) -> None:
        found = event.object
        if event.type == "DELETED":
            self._slices.pop((namespace(found), name(found)), None)
        else:
            self._slices[namespace(found), name(found)] = found
        service = labels(found).get("kubernetes.io/service-name", "")
        key = Key(self._services, service, namespace(found))
        self._point(key)

    def _point(self, key: Key) -> None:
        for port in get(self._known.get(key), "spec", "ports", default=[]):
            listener = self._listeners.get((key, int(port["port"])))
            if listener is not None:
                # The thread of the listeners reads it with the next connection.
                listener.targets = self._targets(key, port.get("name", ""))

    def _targets(self, key: Key, port_name: str) -> list[Address]:
        found: list[Address] = []
        for (place, _), each in sorted(self._slices.items()):
            if place != key.namespace or _service_of(each) != key.name:
                continue
            for endpoint in each.get("endpoints") or ():
                if not get(endpoint, "conditions", "ready"):
                    continue
                for port in each.get("ports") or ():
                    if port.get("name", "") == port_name:
                        found.append(self._reach((endpoint["addresses"][0], int(port["port"]))))
        return found


async def _end_tasks() -> None:
    open_ones = asyncio.all_tasks() - {asyncio.current_task()}
    for task in open_ones:
        task.cancel()
    await asyncio.gather(*open_ones, return_exceptions=True)


def _service_of(endpoint_slice: Manifest) -> str:
    return labels(endpoint_slice).get("kubernetes.io/service-name", "")
