"""Runs one slice of a shard in a warm trainer process and answers for it to the database.

The supervisor claims nothing by itself: it is given a claim, keeps its lease alive, tells the trainer when to stop, and
commits what comes back. Whatever happens to the trainer, the outcome is one of three: the slice is committed, the attempt is
recorded as failed, or the claim was lost to another worker and nothing is written.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workers.contract.plan import Execution
from workers.settings import Settings
from workers.store import artifacts, jobs
from workers.store.database import Database
from workers.store.jobs import Claim, LostClaim, Part, Slice, TrialOutcome
from workers.trainer_process import COMMAND, Message, TrainerDied, TrainerProcess

log = logging.getLogger(__name__)

RENEW_SECONDS = 0.5
"""Between renewals of the lease; a cancellation is noticed at one."""
CANCEL_GRACE_SECONDS = 1.3
"""For a cancelled slice to end by itself and keep what it has; with a renewal before it, less than 2 s."""
STOP_GRACE_SECONDS = 30.0
"""For a slice that makes room to end by itself."""
YIELD_AFTER_SECONDS = 2.0
"""A slice is not stopped for others before this: resuming has a price, too."""


class AttemptFailed(Exception):  # noqa: N818 - said of the attempt
    """The trainer could not do the slice; `code` is what the comparison's error will carry."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Supervisor:
    """Keeps one trainer warm between slices and replaces it when it fails."""

    def __init__(
        self,
        settings: Settings,
        *,
        draining: Callable[[], bool] = lambda: False,
        command: Sequence[str] = COMMAND,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Draining says that the worker is asked to end; command and environment start a trainer."""
        self._settings = settings
        self._draining = draining
        self._command = command
        self._environment = {"PLUMBLINE_THREADS": str(settings.threads), **(environment or {})}
        self._trainer: TrainerProcess | None = None

    def warm(self) -> TrainerProcess:
        """The trainer, started if there is none alive. Returns at once; it says by an event that it is ready."""
        if self._trainer is None or not self._trainer.alive():
            self._trainer = TrainerProcess(self._command, self._environment)
        return self._trainer

    @property
    def about(self) -> Message | None:
        """What the trainer says of itself; None while there is none that has said it. Any thread may ask."""
        trainer = self._trainer
        return trainer.about if trainer is not None else None

    def close(self) -> None:
        if self._trainer is not None:
            self._trainer.quit()
            self._trainer = None

    def train(self, db: Database, claim: Claim) -> None:
        """One slice of the claimed shard, from its last checkpoint to the next, committed."""
        unharmed = False
        try:
            slice_ = self._slice(db, claim)
            unharmed = True
        except LostClaim:
            log.warning("job %s attempt %d: another worker has it now", claim.job_id, claim.attempt)
            return
        except (AttemptFailed, TrainerDied) as failure:
            code = failure.code if isinstance(failure, AttemptFailed) else "trainer_died"
            log.error("job %s attempt %d: %s: %s", claim.job_id, claim.attempt, code, failure)
            try:
                jobs.fail_attempt(db, claim, code=code, message=str(failure), progressed=False)
            except LostClaim:
                return
        finally:
            if not unharmed:  # what it holds of this slice is of no use, and it may still be training
                self._replace()
        if unharmed:
            self._commit(db, claim, slice_)

    def _slice(self, db: Database, claim: Claim) -> Slice:
        """Talks with the trainer until it answers with the slice; renews the lease meanwhile."""
        trainer = self.warm()
        if trainer.ready:
            self._request(trainer, claim)
        begun = renewed = moved = time.monotonic()
        live_steps = claim.steps_done
        stopping = cancelled = False
        deadline = float("inf")
        while True:
            event = trainer.next_event(renewed + RENEW_SECONDS - time.monotonic()) or {}
            now = time.monotonic()
            match event:
                case {"event": "ready"}:
                    self._request(trainer, claim)
                case {"event": "execution", "execution": chosen}:
                    frozen = jobs.freeze_execution(db, claim, Execution.model_validate(chosen))
                    trainer.tell("go", execution=frozen.model_dump(mode="json"))
                case {"event": "started"}:
                    live_steps, moved = claim.steps_done + 1, now
                    renewed = 0.0  # told at once: whoever submitted it waits to see that it trains
                case {"event": "progress", "step": step}:
                    live_steps, moved = int(step), now
                case {"event": "slice"}:
                    return slice_of(event)
                case {"event": "error", "code": code, "message": message}:
                    raise AttemptFailed(code, message)
            if now - renewed >= RENEW_SECONDS:
                order = jobs.renew(db, claim, live_steps=live_steps, lease_seconds=self._settings.lease_seconds)
                renewed = time.monotonic()
                if order == "cancel" and not cancelled:
                    cancelled = True
                    deadline = min(deadline, renewed + CANCEL_GRACE_SECONDS)
                make_room = order == "yield" and now - begun >= YIELD_AFTER_SECONDS
                if not stopping and (cancelled or make_room or self._draining()):
                    stopping = True
                    deadline = min(deadline, renewed + STOP_GRACE_SECONDS)
                    trainer.tell("stop")
            if now > deadline and cancelled:
                self._replace()
                return _nothing_new(claim)
            if now > deadline:
                raise AttemptFailed("trainer_stalled", f"the trainer did not stop within {STOP_GRACE_SECONDS:g} s")
            if now - moved > self._settings.stall_seconds:
                raise AttemptFailed(
                    "trainer_stalled", f"the trainer made no step in {self._settings.stall_seconds:g} s"
                )

    def _request(self, trainer: TrainerProcess, claim: Claim) -> None:
        assert claim.shard is not None
        trainer.tell(
            "slice",
            job=claim.job_id,
            attempt=claim.attempt,
            comparison=claim.comparison_id,
            root=self._settings.artifacts,
            shard=claim.shard.model_dump(mode="json"),
            execution=claim.execution.model_dump(mode="json") if claim.execution else None,
            checkpoint=claim.checkpoint,
            steps_done=claim.steps_done,
            seconds=self._settings.slice_seconds,
        )

    def _commit(self, db: Database, claim: Claim, slice_: Slice) -> None:
        try:
            jobs.commit_slice(db, claim, slice_)
        except LostClaim:
            log.warning("job %s attempt %d: lost before it could be committed", claim.job_id, claim.attempt)
            return
        try:
            artifacts.drop_checkpoints(
                self._settings.artifacts, claim.comparison_id, claim.job_id, keep=slice_.checkpoint
            )
        except OSError as error:  # they go when the comparison's files are merged
            log.warning("job %s: superseded checkpoints stay for now: %s", claim.job_id, error)

    def _replace(self) -> None:
        if self._trainer is not None:
            self._trainer.kill()
            self._trainer = None
        if not self._draining():
            self.warm()


def slice_of(event: Message) -> Slice:
    """What the trainer says of a slice, typed."""
    parts: list[dict[str, Any]] = event["parts"]
    trials: list[dict[str, Any]] = event["trials"]
    return Slice(
        steps_done=event["steps_done"],
        finished=event["finished"],
        checkpoint=event["checkpoint"],
        parts=[Part(**part) for part in parts],
        trials=[TrialOutcome(**trial) for trial in trials],
        step_seconds=event.get("step_seconds") or {},
    )


def _nothing_new(claim: Claim) -> Slice:
    """A slice that was killed: the last checkpoint stands. The comparison is cancelled, so nobody trains it again."""
    return Slice(steps_done=claim.steps_done, finished=False, checkpoint=claim.checkpoint, parts=[], trials=[])
