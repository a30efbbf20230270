"""Several asynchronous iterators read at once, as one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

AHEAD = 64
"""Items that wait to be read; an iterator that has more waits for the reader."""

T = TypeVar("T")


async def merged(
    iterators: Sequence[AsyncGenerator[T, None]],
) -> AsyncGenerator[tuple[int, T], None]:
    """Yield what the iterators yield as it comes, each with its iterator's number.

    All of them are closed with this one, or when one raises.
    """
    queue: asyncio.Queue[tuple[int, T] | BaseException | None] = asyncio.Queue(AHEAD)
    tasks = [asyncio.ensure_future(_read(n, each, queue)) for n, each in enumerate(iterators)]
    unfinished = len(tasks)
    try:
        while unfinished:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                unfinished -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(
    number: int,
    iterator: AsyncGenerator[T, None],
    queue: "asyncio.Queue[tuple[int, T] | BaseException | None]",
) -> None:
    try:
        async with aclosing(iterator):
            async for item in iterator:
                await queue.put((number, item))
    except asyncio.CancelledError:  # nobody reads the queue any more
        raise
    except BaseException as error:  # noqa: BLE001  raised where the queue is read
        await queue.put(error)
    else:
        await queue.put(None)
