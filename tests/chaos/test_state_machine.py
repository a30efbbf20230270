"""The same calls and faults as in the runs by seed, chosen by hypothesis, which says the shortest way to a fault."""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kaito_laptop.azure.interference import Outcome

from tests.chaos.driver import Run
from tests.chaos.fault_schedule import FaultSchedule
from tests.chaos.machines import SimulatedMachine
from tests.chaos.mutations import leave_when_not_launched
from tests.harness.arm import Fault

pytestmark = pytest.mark.no_cover  # Traced, half a minute takes many, and no line is added.

NEVER = float("inf")
EVENTS = (
    "stale parent", "status lost", "status edited", "call timed out", "early call", "overlapping call",
    "restart", "connection refused", "astray", "GET lags", "pool deleted", "pool replaced", "tags stripped",
    "AKS at work on a pool", "AKS at work on the cluster", "changes forbidden",
)  # fmt: skip
LOST = ("status", "body", "code", "dropped")
APPLIED = ("applied and dropped", "applied and failed")
FAULTS = (
    *((verb, kind) for verb in ("GET", "LIST", "CLUSTER", "SKUS", "USAGES") for kind in LOST),
    *((verb, kind) for verb in ("PUT", "DELETE") for kind in (*LOST, *APPLIED)),
    ("PUT", "late"),
)
SOON = Outcome(seconds=200)
OUTCOMES = (
    SOON,
    SOON,
    Outcome("Failed"),
    Outcome("Canceled"),
    Outcome(has_node=False),
    Outcome(seconds=2400),
)
INDEX, CALM = st.integers(0, 2), st.integers(0, 8)


@dataclass(slots=True)
class Told(FaultSchedule):
    """A schedule without chance: what comes next is told beforehand."""

    coming: Counter[str] = field(default_factory=Counter)
    faults: dict[str, deque[str]] = field(default_factory=dict)
    next_outcome: Outcome = SOON

    def fault(self, verb: str, now: float) -> Fault | None:
        return self._fault(self.faults[verb].popleft()) if self.faults.get(verb) else None

    def outcome(self, now: float) -> Outcome:
        return self.next_outcome

    def happens(self, kind: str, probability: float, now: float) -> bool:
        self.coming[kind] -= 1
        return self.coming[kind] >= 0

    def clear(self) -> None:
        """What was told and did not come does not come any more."""
        self.coming.clear()
        self.faults.clear()
        self.next_outcome = SOON


class Machines(RuleBasedStateMachine):
    """One to three Machines; each promise is looked at after each step, the last ones when the faults have ended."""

    @initialize(seed=st.integers(0, 999), is_late=st.booleans())
    def begin(self, seed: int, is_late: bool) -> None:
        self.schedule = Told(random.Random(seed), share=0.0, ends=NEVER, is_late=is_late)
        self.run = Run(seed, self.schedule)
        for simulated in self.run.machines:
            simulated.dies = NEVER

    @property
    def living(self) -> list[SimulatedMachine]:
        return [simulated for simulated in self.run.machines if not simulated.is_gone]

    @precondition(lambda self: self.living)
    @rule(
        index=INDEX,
        calm=CALM,
        events=st.sets(st.sampled_from(EVENTS), max_size=2),
        faults=st.lists(st.sampled_from(FAULTS), max_size=2),
        outcome=st.sampled_from(OUTCOMES),
        late=st.sampled_from([0, 20, 46, 300, 1200]),
    )
    def call(
        self,
        index: int,
        calm: int,
        events: set[str],
        faults: list[tuple[str, str]],
        outcome: Outcome,
        late: int,
    ) -> None:
        """A call in which not all is well."""
        simulated = self._after(calm, self.living[index % len(self.living)])
        for verb, kind in faults:
            is_possible = kind != "late" or self.schedule.is_late
            self.schedule.faults.setdefault(verb, deque()).extend([kind] * is_possible)
        self.schedule.coming, self.schedule.next_outcome = Counter(events), outcome
        self.run.cloud.pass_time(late)
        self._call(simulated)
        self.schedule.clear()

    @precondition(lambda self: any(not simulated.is_deleting for simulated in self.living))
    @rule(index=INDEX, calm=CALM, is_forced=st.sampled_from([False, False, True]))
    def delete(self, index: int, calm: int, is_forced: bool) -> None:
        """The owner deletes a Machine, or takes its finalizer away by force."""
        staying = [simulated for simulated in self.living if not simulated.is_deleting]
        simulated = self._after(calm, staying[index % len(staying)])
        self.schedule.coming = Counter({"finalizer forced away": int(is_forced)})
        self.run.delete(simulated)
        self.schedule.clear()

    @rule(calm=CALM, is_partial=st.booleans())
    def sweep(self, calm: int, is_partial: bool) -> None:
        """The orphan sweep, which may see half a list."""
        for simulated in self.living[:1]:
            self._after(calm, simulated)
        self.schedule.coming = Counter({"Machines not listed": int(is_partial)})
        self.run.sweeper.sweep(self.run.clock.seconds())
        self.schedule.clear()

    def _after(self, calm: int, simulated: SimulatedMachine) -> SimulatedMachine:
        """The Machine after some calls in which all is well."""
        for _ in range(calm):
            self._call(simulated)
        return simulated

    def _call(self, simulated: SimulatedMachine) -> None:
        if not simulated.is_gone:
            self.run.cloud.pass_time(max(simulated.due - self.run.clock.seconds(), 0))
            self.run.step(simulated)

    @invariant()
    def no_promise_is_broken(self) -> None:
        assert self.run.cloud.wrong == []

    def teardown(self) -> None:
        if not hasattr(self, "run") or self.run.cloud.wrong:
            return
        self.schedule.ends = self.run.clock.seconds()
        for simulated in self.run.machines:
            simulated.dies = NEVER if simulated.is_deleting else self.run.clock.seconds()
        assert self.run.play().wrong == []


CHOSEN = settings(
    max_examples=12,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_no_choice_of_calls_and_faults_breaks_a_promise() -> None:
    run_state_machine_as_test(Machines, settings=CHOSEN)


def test_the_lack_of_a_rule_is_found_by_choice_as_well() -> None:
    unshrunk = settings(CHOSEN, phases=[Phase.generate])
    with leave_when_not_launched(), pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(Machines, settings=unshrunk)
