"""One run: some Machines, Metacontroller on a bad day, Azure with faults, and then none.

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
from kaito_hooks.providers.aks.settings import AksSettings
from kaito_hooks.provisioner.run import MachineHook
from kaito_laptop.azure.answers import Request
from kaito_laptop.azure.interference import Handled
from kaito_laptop.core.clock import VirtualClock

from tests.chaos.cloud import Cloud
from tests.chaos.fault_schedule import BLOCKS, FaultSchedule
from tests.chaos.machines import SimulatedMachine
from tests.chaos.sweeping import SECONDS, Sweeper
from tests.chaos.transport import InProcess
from tests.unit.aks.machine_simulation import NoObserver
from tests.unit.machine.builders import body

SETTINGS = AksSettings(
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
    """A run in the making; without a schedule of faults, the one of its seed."""

    def __init__(self, seed: int, schedule: FaultSchedule | None = None) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.clock = VirtualClock()
        self.schedule = schedule or FaultSchedule.of(self.chance)
        # Where the region is known, size and quota are looked up before the first PUT.
        self.settings = replace(
            SETTINGS,
            location=self.chance.choice(["", "westeurope"]),
            max_surge=self.chance.choice([0, 0, 1]),
        )
        self._blocked_until = 0.0
        self.cloud = Cloud(self.clock, self.schedule)
        self.cloud.may_create = self._may_create
        self.cloud.meanwhile = self._meanwhile
        self.machines = [
            self._simulated(index) for index in range(self.chance.choice([1, 1, 2, 3]))
        ]
        for simulated in self.machines:
            self.cloud.calls_by_uid[simulated.uid] = 0
        self.calls = 0
        self._calling: list[SimulatedMachine] = []
        self.sweeper = Sweeper(
            AksProvider(self.settings, self.clock.now, InProcess(self._swept)),
            self.clock.now,
            self.schedule,
            lambda: frozenset(
                simulated.uid for simulated in self.machines if not simulated.is_gone
            ),
        )
        self.processes = [self._start(), self._start()]
        """The second one lives through a rolling update: no lock is shared with it."""

    def play(self) -> Result:
        """Play it to its end."""
        try:
            self._until(lambda: all(simulated.is_gone for simulated in self.machines))
            self.cloud.pass_time(3600)
            left = self.cloud.ours(
                {simulated.uid for simulated in self.machines if not simulated.is_forced}
            )
            self.cloud.wrong += [("leaked pool", name) for name in left]
            self._sweep_up()
        except Exception as error:  # noqa: BLE001  a bug of the hook is a result, too
            self.cloud.wrong.append(("exception", f"{type(error).__name__}: {error}"))
        if "foreign" not in self.cloud.arm.pool_names():
            self.cloud.wrong.append(("foreign delete", "foreign"))
        return Result(
            self.seed,
            self.cloud.wrong,
            self.schedule.seen,
            self.calls,
            self.cloud.requests,
            len(self.machines),
        )

    def _sweep_up(self) -> None:
        """In the end no orphan is there that no sweep has told."""
        self.cloud.block("")
        end = self.clock.seconds() + 3600
        while True:
            report = self.sweeper.sweep(self.clock.seconds())
            left = set(
                self.cloud.ours(
                    {simulated.uid for simulated in self.machines if simulated.is_forced}
                )
            )
            left -= set(report.unmarked)
            if not left or self.clock.seconds() > end:
                break
            self.cloud.pass_time(SECONDS)
        self.cloud.wrong += [("orphan not found", f"{name}: {report.message}") for name in left]

    def _swept(self, request: Request) -> Handled | None:
        """A request of the sweep, which takes no pool whose Machine is there."""
        name = request.path.rpartition("/")[2]
        living = {simulated.uid for simulated in self.machines if not simulated.is_gone}
        let_go = {
            simulated.uid
            for simulated in self.machines
            if simulated.is_gone and not simulated.is_forced
        }
        if request.method == "DELETE" and name in self.cloud.ours(living):
            self.cloud.wrong.append(("living pool swept", name))
        if request.method == "DELETE" and name in self.cloud.ours(let_go):
            self.cloud.wrong.append(("leaked pool", f"{name}, found by the sweep"))
        return self.cloud.handle(request)

    def _until(self, is_reached: Callable[[], bool]) -> None:
        while not is_reached():
            now = self.clock.seconds()
            if now > self.schedule.ends + CALM_SECONDS:
                said = [
                    (simulated.name, simulated.parent.get("status"))
                    for simulated in self.machines
                    if not simulated.is_gone
                ]
                self.cloud.wrong.append(("does not converge", str(said)[:600]))
                return
            simulated = min(
                (simulated for simulated in self.machines if not simulated.is_gone), key=_next
            )
            if self.sweeper.due < _next(simulated):
                self.cloud.pass_time(max(self.sweeper.due - now, 0))
                self.sweeper.sweep(self.clock.seconds())
                continue
            self.cloud.pass_time(max(_next(simulated) - now, 0))
            self.step(simulated)

    def step(self, simulated: SimulatedMachine) -> None:
        """What is due for a Machine: its owner's wish, or a call."""
        now = self.clock.seconds()
        is_over = simulated.reason() in ("True/NodeReady", "False/NodeLost", "False/NameConflict")
        if (
            not simulated.is_deleting
            and now >= simulated.dies
            and (is_over or simulated.dies < self.schedule.ends)
        ):
            self.delete(simulated)
            return
        if simulated.dies <= now:
            simulated.dies = now + 300 if not simulated.is_deleting else float("inf")
        if now >= self.schedule.ends and simulated.reason("Stalled").startswith("True"):
            simulated.retry(str(int(now)))
        if self.schedule.happens("status edited", 0.03, now):
            simulated.edit(self.schedule)
        if self.schedule.happens("restart", 0.03, now):
            self.processes[0] = self._start()
        if self.schedule.happens("tags stripped", 0.02, now) and self.cloud.ours({simulated.uid}):
            self.cloud.arm.set_pool(simulated.name, tags={"team": "other"})
        if self.schedule.happens("pool deleted", 0.01, now) and simulated.name in self.cloud.ours(
            {simulated.uid}
        ):
            self.cloud.arm.delete(simulated.name, Request("DELETE", "", {}, {}))
        self._azure_acts(simulated, now)
        self._call(simulated)

    def _azure_acts(self, simulated: SimulatedMachine, now: float) -> None:
        """What AKS and the owner of the subscription do beside our requests."""
        chance, arm = self.chance, self.cloud.arm
        is_at_rest = self.cloud.is_at_rest(simulated.name)
        if is_at_rest and self.schedule.happens("AKS at work on a pool", 0.03, now):
            arm.begin_own_operation(
                chance.choice(OPERATIONS), chance.uniform(60, 900), simulated.name
            )
        if self.schedule.happens("AKS at work on the cluster", 0.01, now):
            arm.begin_own_operation(chance.choice(OPERATIONS), chance.uniform(60, 900))
        if now < self._blocked_until:
            return
        if self._blocked_until:
            self._blocked_until = 0.0
            self.cloud.block("")
        if self.schedule.happens("changes forbidden", 0.01, now):
            self._blocked_until = min(now + chance.uniform(60, 1200), self.schedule.ends)
            self.cloud.block(chance.choice(BLOCKS))

    def delete(self, simulated: SimulatedMachine) -> None:
        if self.schedule.happens("finalizer forced away", 0.1, self.clock.seconds()):
            simulated.is_forced = simulated.is_gone = True
        elif simulated.has_finalizer:
            simulated.delete(self.clock)
            simulated.due, simulated.dies = self.clock.seconds(), float("inf")
        else:  # Nothing keeps it: it is gone at once.
            simulated.is_gone = True

    def _call(self, simulated: SimulatedMachine, process: int = 0) -> None:
        """One call of the hook, and what Metacontroller makes of the answer."""
        now = self.clock.seconds()
        parent = simulated.shown(self.schedule, now)
        finalizing = "deletionTimestamp" in parent["metadata"]
        nodes = list(self.cloud.nodes.by_name.values())
        requests, calls = self.cloud.requests, self.processes[process]
        self._calling.append(simulated)
        hook = calls.finalize if finalizing else calls.sync
        answer = dict(hook(body(parent, nodes, finalizing)))
        self._calling.pop()
        self.calls += 1
        if self.cloud.requests - requests > MOST_REQUESTS and not self._nested:
            self.cloud.wrong.append(("too many requests", str(self.cloud.requests - requests)))
        self._nested = False
        if self.chance.random() < 0.5:
            simulated.add_finalizer()
        self._judge(simulated, parent, answer)
        self._apply(simulated, answer)

    _nested = False

    def _judge(
        self, simulated: SimulatedMachine, shown: dict[str, Any], answer: dict[str, Any]
    ) -> None:
        """`Ready` is said to be True only while a Node of the Machine is there, and never on its way out.

        An answer that repeats what it was shown says nothing: it stands for "not looked at now".
        """
        (ready,) = (item for item in answer["status"]["conditions"] if item["type"] == "Ready")
        before = (shown.get("status") or {}).get("conditions", ())
        said = {(item["type"], item["status"], item["reason"]) for item in before}
        if ready["status"] == "True" and "deletionTimestamp" in shown["metadata"]:
            self.cloud.wrong.append(("wrong Ready", f"{simulated.name} is being deleted"))
        if ready["status"] != "True" or ("Ready", "True", ready["reason"]) in said:
            return
        labels = [node["metadata"]["labels"] for node in self.cloud.nodes.by_name.values()]
        if simulated.uid not in [found.get("kaito.sh/machine-uid") for found in labels]:
            self.cloud.wrong.append(("wrong Ready", f"{simulated.name} {ready}"))

    def _apply(self, simulated: SimulatedMachine, answer: dict[str, Any]) -> None:
        now = self.clock.seconds()
        if self.schedule.happens("call timed out", 0.05, now):
            simulated.due = now + self.chance.uniform(0, 30)
            return
        if answer.get("finalized"):
            simulated.is_gone = True
            return
        resync = answer.get("resyncAfterSeconds") or 300
        if self.schedule.happens("status lost", 0.1, now):
            simulated.due = now + min(resync, self.chance.uniform(0, 30))
            return
        changed = simulated.write(answer["status"])
        simulated.due = now + (0.1 if changed else min(resync, 300))
        if self.schedule.happens("early call", 0.1, now):
            simulated.due = now + self.chance.uniform(0, 5)

    def _meanwhile(self, verb: str) -> None:
        """While a request is under way, Metacontroller gives up waiting and calls again."""
        now = self.clock.seconds()
        if len(self._calling) != 1 or not self.schedule.happens("overlapping call", 0.02, now):
            return
        self._nested = True
        simulated = self._calling[-1]
        if not simulated.is_gone:
            self._call(simulated, process=self.chance.choice([0, 1]))
            self._nested = True

    def _may_create(self, name: str, uid: str) -> bool:
        simulated = next(simulated for simulated in self.machines if simulated.uid == uid)
        return simulated.has_finalizer

    def _simulated(self, index: int) -> SimulatedMachine:
        born = self.chance.uniform(0, 60)
        early = self.chance.random() < 0.5
        dies = born + (self.chance.uniform(2, 30) if early else self.chance.uniform(30, 2000))
        has_finalizer = self.chance.random() < 0.9
        name = f"ws{index}{self.seed % 10**8}"
        spot = self.chance.choice([(), (), ("spot",), ("spot", "on-demand")])
        return SimulatedMachine(name, f"uid-{self.seed}-{index}", born, dies, has_finalizer, spot)

    def _start(self) -> MachineHook:
        """A process of the hook: its cache and its locks are its own."""
        provider = AksProvider(self.settings, self.clock.now, InProcess(self.cloud.handle))
        return MachineHook(provider, self.clock.now, NoObserver())


def _next(simulated: SimulatedMachine) -> float:
    """When something is due for a Machine: its next call, or its end."""
    return (
        simulated.due
        if simulated.is_deleting
        else min(simulated.due, max(simulated.dies, simulated.born))
    )
