"""The tables of the record.

A comparison has rounds, a round has jobs (its shards, then one decision), a shard has trials and leaves parts; a worker that is
up has a row, and the job it has says so by its name. Times are aware UTC datetimes on every database. Workers, service and
store may run on several machines: their clocks should agree within a fraction of a lease.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC. SQLite keeps no zone: there it is stored as UTC without one and read back with it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BigId = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts up INTEGER keys only; they have 64 bits there."""
OptionalJson = JSON(none_as_null=True)


def _comparison_id(**more: Any) -> Column[str]:
    return Column("comparison_id", String(64), ForeignKey("comparison.id", ondelete="CASCADE"), nullable=False, **more)


dataset = Table(
    "dataset",
    metadata,
    Column("id", String(64), primary_key=True),  # the digest of what it says
    Column("place", String(32), nullable=False),  # its file's name: another each time that the same is uploaded
    Column("name", Text, nullable=False),
    Column("about", JSON, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("deleted", Boolean, nullable=False),  # its file may still have to go
)
Index("ix_dataset_created_at_id", dataset.c.created_at, dataset.c.id)

comparison = Table(
    "comparison",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("idempotency_key", String(255)),
    Column("body_hash", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("served_at", UtcDateTime),  # a slice of it last began or ended
    Column("result", OptionalJson),
    Column("error", OptionalJson),
    Column("version", BigInteger, nullable=False),  # counts visible changes
    Column("round_number", Integer, nullable=False),
    Column("round", String(16), nullable=False),  # its role in training
    Column("trials_total", Integer, nullable=False),
    Column("steps_total", BigInteger, nullable=False),
    Column("steps_done", BigInteger, nullable=False),
    Column("rate", Float),  # steps per second, smoothed
    Column("sampled_at", UtcDateTime),  # when the rate was last looked at
    Column("sampled_steps", BigInteger, nullable=False),
    Column("dataset_id", String(64)),  # no foreign key: the results of a comparison outlive the data
    UniqueConstraint("idempotency_key"),
)
Index("ix_comparison_created_at_id", comparison.c.created_at, comparison.c.id)
Index("ix_comparison_dataset_id", comparison.c.dataset_id)

label = Table(
    "label",
    metadata,
    _comparison_id(primary_key=True),
    Column("key", String(80), primary_key=True),
    Column("value", String(200), nullable=False),
)
Index("ix_label_key_value", label.c.key, label.c.value)

job = Table(
    "job",
    metadata,
    Column("id", String(64), primary_key=True),
    _comparison_id(),
    Column("kind", String(16), nullable=False),
    Column("round", Integer, nullable=False),
    Column("position", Integer, nullable=False),  # within its round
    Column("role", String(16), nullable=False),
    Column("problem", Text),  # its name in the comparison
    Column("variant", Text),
    Column("shard", OptionalJson),
    Column("execution", OptionalJson),
    Column("device", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("published_at", UtcDateTime),
    Column("attempt", Integer, nullable=False),
    Column("worker", Text),
    Column("lease_until", UtcDateTime),
    Column("trials_count", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("steps_done", Integer, nullable=False),  # of each trial, at the last checkpoint
    Column("live_steps", Integer, nullable=False),  # of each trial, as last heard
    Column("checkpoint", Text),
    Column("failures", Integer, nullable=False),  # attempts in a row without progress
    Column("step_seconds", OptionalJson),  # by name of optimizer, once it is trained
    Column("error", OptionalJson),
)
Index("ix_job_state_due_at", job.c.state, job.c.due_at)
Index("ix_job_comparison_id_round", job.c.comparison_id, job.c.round)
Index(
    "uq_job_decision",
    job.c.comparison_id,
    job.c.round,
    unique=True,
    sqlite_where=text("kind = 'decision'"),
    postgresql_where=text("kind = 'decision'"),
)

trial = Table(
    "trial",
    metadata,
    _comparison_id(primary_key=True),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("job_id", String(64), nullable=False),
    Column("problem", Text, nullable=False),
    Column("variant", Text, nullable=False),
    Column("optimizer", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("hyperparameters", JSON, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("role", String(16), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("divergence", OptionalJson),
    Column("test_loss", Float),
    Column("test_accuracy", Float),
    ForeignKeyConstraint(["job_id"], ["job.id"], ondelete="CASCADE"),
)
Index("ix_trial_job_id", trial.c.job_id)

part = Table(
    "part",
    metadata,
    Column("id", BigId, primary_key=True),
    _comparison_id(),
    Column("job_id", String(64), ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("path", Text, nullable=False),
    Column("first_step", Integer, nullable=False),
    Column("last_step", Integer, nullable=False),
    Column("rows", BigInteger, nullable=False),
    UniqueConstraint("comparison_id", "path"),
)
Index("ix_part_job_id", part.c.job_id)

event = Table(
    "event",
    metadata,
    Column("id", BigId, primary_key=True),
    _comparison_id(),
    Column("kind", String(16), nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,  # ids of deleted events are never given again
)
Index("ix_event_comparison_id_id", event.c.comparison_id, event.c.id)

lease = Table(
    "lease",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("until", UtcDateTime, nullable=False),
)

worker = Table(
    "worker",
    metadata,
    Column("name", String(300), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", String(16), nullable=False),
    Column("device_name", Text, nullable=False),
    Column("cores", Integer, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("torch", Text, nullable=False),
    Column("matmul_flops_per_second", Float, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)
