"""One run: some Machines, Metacontroller on a bad day, Azure in bad weather, and then a calm.

A seed is a run: the same seed brings the same calls and the same faults, on every computer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from kaito_hooks.providers.aks.provider import AksProvider
from kaito_hooks.settings import MachineSettings
from kaito_hooks.web.machine import MachineCalls
from kaito_hooks.web.metrics import Registry
from kaito_laptop.azure.answers import Request
from kaito_laptop.azure.router import Handled
from kaito_laptop.core.clock import VirtualClock

from tests.chaos.cloud import Cloud
from tests.chaos.machines import Life
from tests.chaos.sweeping import SECONDS, Sweeper
from tests.chaos.transport import InProcess
from tests.chaos.weather import BLOCKS, Weather
from tests.unit.machine.builders import body

SETTINGS = MachineSettings(
    "00000000-0000-0000-0000-000000000000",
    "laptop",
    "laptop",
    "test",
    arm_endpoint="http://127.0.0.1:1",
)
MOST_REQUESTS = 3
CALM_SECONDS = 9 * 3600
"""After the faults: longer than the longest wait (six hours for a size that is not sold) and two creations."""
OPERATIONS = ("Upgrading", "UpgradingNodeImageVersion", "Updating", "Scaling", "Starting")
"""What AKS does for reasons of its own."""
KINDS = (
    "leaked pool",
    "double create",
    "unguarded create",
    "create for a Machine without finalizer",
    "foreign delete",
    "living pool swept",
    "orphan not found",
    "delete during an operation of AKS",
    "PUT above AKS' budget",
    "wrong Ready",
    "too many requests",
    "exception",
    "does not converge",
)

Mutation = Callable[[], AbstractContextManager[Any]]


@dataclass(slots=True)
class Result:
    """What one run came to."""

    seed: int
    wrong: list[tuple[str, str]]
    faults: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    requests: int = 0
    machines: int = 0


def run(seed: int, mutation: Mutation = nullcontext) -> Result:
    """Play the run of a seed; with a mutation, a hook that lacks one of its rules."""
    with mutation():
        return Run(seed).play()


class Run:
    """A run in the making; without a weather, the one that its seed brings."""

    def __init__(self, seed: int, weather: Weather | None = None) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.clock = VirtualClock()
        self.weather = weather or Weather.of(self.chance)
        # Where the region is known, size and quota are looked up before the first PUT.
        self.settings = replace(
            SETTINGS,
            location=self.chance.choice(["", "westeurope"]),
            max_surge=self.chance.choice([0, 0, 1]),
        )
        self._blocked_until = 0.0
        self.cloud = Cloud(self.clock, self.weather)
        self.cloud.may_create = self._may_create
        self.cloud.meanwhile = self._meanwhile
        self.lives = [self._life(index) for index in range(self.chance.choice([1, 1, 2, 3]))]
        for life in self.lives:
            self.cloud.calls_by_uid[life.uid] = 0
        self.calls = 0
        self._calling: list[Life] = []
        self.sweeper = Sweeper(
            AksProvider(self.settings, self.clock.now, InProcess(self._swept)),
            self.clock.now,
            self.weather,
            lambda: frozenset(life.uid for life in self.lives if not life.is_gone),
        )
        self.processes = [self._start(), self._start()]
        """The second one lives through a rolling update: no lock is shared with it."""

    def play(self) -> Result:
        """Play it to its end."""
        try:
            self._until(lambda: all(life.is_gone for life in self.lives))
            self.cloud.pass_time(3600)
            left = self.cloud.ours({life.uid for life in self.lives if not life.is_forced})
            self.cloud.wrong += [("leaked pool", name) for name in left]
            self._sweep_up()
        except Exception as error:  # A bug of the hook is a result, too.
            self.cloud.wrong.append(("exception", f"{type(error).__name__}: {error}"))
        if "foreign" not in self.cloud.arm.pool_names():
            self.cloud.wrong.append(("foreign delete", "foreign"))
        return Result(
            self.seed,
            self.cloud.wrong,
            self.weather.seen,
            self.calls,
            self.cloud.requests,
            len(self.lives),
        )

    def _sweep_up(self) -> None:
        """In the end no orphan is there that no sweep has told."""
        self.cloud.block("")
        end = self.clock.seconds() + 3600
        while True:
            report = self.sweeper.sweep(self.clock.seconds())
            left = set(self.cloud.ours({life.uid for life in self.lives if life.is_forced}))
            left -= set(report.unmarked)
            if not left or self.clock.seconds() > end:
                break
            self.cloud.pass_time(SECONDS)
        self.cloud.wrong += [("orphan not found", f"{name}: {report.message}") for name in left]

    def _swept(self, request: Request) -> Handled | None:
        """A request of the sweep, which takes no pool whose Machine is there."""
        name = request.path.rpartition("/")[2]
        living = {life.uid for life in self.lives if not life.is_gone}
        let_go = {life.uid for life in self.lives if life.is_gone and not life.is_forced}
        if request.method == "DELETE" and name in self.cloud.ours(living):
            self.cloud.wrong.append(("living pool swept", name))
        if request.method == "DELETE" and name in self.cloud.ours(let_go):
            self.cloud.wrong.append(("leaked pool", f"{name}, found by the sweep"))
        return self.cloud.handle(request)

    def _until(self, is_reached: Callable[[], bool]) -> None:
        while not is_reached():
            now = self.clock.seconds()
            if now > self.weather.ends + CALM_SECONDS:
                said = [
                    (life.name, life.parent.get("status"))
                    for life in self.lives
                    if not life.is_gone
                ]
                self.cloud.wrong.append(("does not converge", str(said)[:600]))
                return
            life = min((life for life in self.lives if not life.is_gone), key=_next)
            if self.sweeper.due < _next(life):
                self.cloud.pass_time(max(self.sweeper.due - now, 0))
                self.sweeper.sweep(self.clock.seconds())
                continue
            self.cloud.pass_time(max(_next(life) - now, 0))
            self.step(life)

    def step(self, life: Life) -> None:
        """What is due for a Machine: its owner's wish, or a call."""
        now = self.clock.seconds()
        is_over = life.reason() in ("True/NodeReady", "False/NodeLost", "False/NameConflict")
        if not life.is_deleting and now >= life.dies and (is_over or life.dies < self.weather.ends):
            self.delete(life)
            return
        if life.dies <= now:
            life.dies = now + 300 if not life.is_deleting else float("inf")
        if now >= self.weather.ends and life.reason("Stalled").startswith("True"):
            life.retry(str(int(now)))
        if self.weather.happens("status edited", 0.03, now):
            life.edit(self.weather)
        if self.weather.happens("restart", 0.03, now):
            self.processes[0] = self._start()
        if self.weather.happens("tags stripped", 0.02, now) and self.cloud.ours({life.uid}):
            self.cloud.arm.set_pool(life.name, tags={"team": "other"})
        if self.weather.happens("pool deleted", 0.01, now) and life.name in self.cloud.ours(
            {life.uid}
        ):
            self.cloud.arm.delete(life.name, Request("DELETE", "", {}, {}))
        self._azure_acts(life, now)
        self._call(life)

    def _azure_acts(self, life: Life, now: float) -> None:
        """What AKS and the owner of the subscription do beside our requests."""
        chance, arm = self.chance, self.cloud.arm
        is_at_rest = self.cloud.is_at_rest(life.name)
        if is_at_rest and self.weather.happens("AKS at work on a pool", 0.03, now):
            arm.begin_own_operation(chance.choice(OPERATIONS), chance.uniform(60, 900), life.name)
        if self.weather.happens("AKS at work on the cluster", 0.01, now):
            arm.begin_own_operation(chance.choice(OPERATIONS), chance.uniform(60, 900))
        if now < self._blocked_until:
            return
        if self._blocked_until:
            self._blocked_until = 0.0
            self.cloud.block("")
        if self.weather.happens("changes forbidden", 0.01, now):
            self._blocked_until = min(now + chance.uniform(60, 1200), self.weather.ends)
            self.cloud.block(chance.choice(BLOCKS))

    def delete(self, life: Life) -> None:
        if self.weather.happens("finalizer forced away", 0.1, self.clock.seconds()):
            life.is_forced = life.is_gone = True
        elif life.has_finalizer:
            life.delete(self.clock)
            life.due, life.dies = self.clock.seconds(), float("inf")
        else:  # Nothing keeps it: it is gone at once.
            life.is_gone = True

    def _call(self, life: Life, process: int = 0) -> None:
        """One call of the hook, and what Metacontroller makes of the answer."""
        now = self.clock.seconds()
        parent = life.shown(self.weather, now)
        finalizing = "deletionTimestamp" in parent["metadata"]
        nodes = list(self.cloud.nodes.by_name.values())
        requests, calls = self.cloud.requests, self.processes[process]
        self._calling.append(life)
        hook = calls.finalize if finalizing else calls.sync
        answer = dict(hook(body(parent, nodes, finalizing)))
        self._calling.pop()
        self.calls += 1
        if self.cloud.requests - requests > MOST_REQUESTS and not self._nested:
            self.cloud.wrong.append(("too many requests", str(self.cloud.requests - requests)))
        self._nested = False
        if self.chance.random() < 0.5:
            life.add_finalizer()
        self._judge(life, parent, answer)
        self._apply(life, answer)

    _nested = False

    def _judge(self, life: Life, shown: dict[str, Any], answer: dict[str, Any]) -> None:
        """`Ready` is said to be True only while a Node of the Machine is there, and never on its way out.

        An answer that repeats what it was shown says nothing: it stands for "not looked at now".
        """
        (ready,) = (item for item in answer["status"]["conditions"] if item["type"] == "Ready")
        before = (shown.get("status") or {}).get("conditions", ())
        said = {(item["type"], item["status"], item["reason"]) for item in before}
        if ready["status"] == "True" and "deletionTimestamp" in shown["metadata"]:
            self.cloud.wrong.append(("wrong Ready", f"{life.name} is being deleted"))
        if ready["status"] != "True" or ("Ready", "True", ready["reason"]) in said:
            return
        labels = [node["metadata"]["labels"] for node in self.cloud.nodes.by_name.values()]
        if life.uid not in [found.get("kaito.sh/machine-uid") for found in labels]:
            self.cloud.wrong.append(("wrong Ready", f"{life.name} {ready}"))

    def _apply(self, life: Life, answer: dict[str, Any]) -> None:
        now = self.clock.seconds()
        if self.weather.happens("call timed out", 0.05, now):
            life.due = now + self.chance.uniform(0, 30)
            return
        if answer.get("finalized"):
            life.is_gone = True
            return
        resync = answer.get("resyncAfterSeconds") or 300
        if self.weather.happens("status lost", 0.1, now):
            life.due = now + min(resync, self.chance.uniform(0, 30))
            return
        changed = life.write(answer["status"])
        life.due = now + (0.1 if changed else min(resync, 300))
        if self.weather.happens("early call", 0.1, now):
            life.due = now + self.chance.uniform(0, 5)

    def _meanwhile(self, verb: str) -> None:
        """While a request is under way, Metacontroller gives up waiting and calls again."""
        now = self.clock.seconds()
        if len(self._calling) != 1 or not self.weather.happens("overlapping call", 0.02, now):
            return
        self._nested = True
        life = self._calling[-1]
        if not life.is_gone:
            self._call(life, process=self.chance.choice([0, 1]))
            self._nested = True

    def _may_create(self, name: str, uid: str) -> bool:
        life = next(life for life in self.lives if life.uid == uid)
        return life.has_finalizer

    def _life(self, index: int) -> Life:
        born = self.chance.uniform(0, 60)
        early = self.chance.random() < 0.5
        dies = born + (self.chance.uniform(2, 30) if early else self.chance.uniform(30, 2000))
        has_finalizer = self.chance.random() < 0.9
        name = f"ws{index}{self.seed % 10**8}"
        spot = self.chance.choice([(), (), ("spot",), ("spot", "on-demand")])
        return Life(name, f"uid-{self.seed}-{index}", born, dies, has_finalizer, spot)

    def _start(self) -> MachineCalls:
        """A process of the hook: its cache and its locks are its own."""
        provider = AksProvider(self.settings, self.clock.now, InProcess(self.cloud.handle))
        return MachineCalls(provider, self.clock.now, Registry())


def _next(life: Life) -> float:
    """When something is due for a Machine: its next call, or its end."""
    return life.due if life.is_deleting else min(life.due, max(life.dies, life.born))
