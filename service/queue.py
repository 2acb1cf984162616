"""The only file of the service that knows Celery: sends a task by its name and says whether anyone listens.

Every call is bounded in time and none retries: the database holds the truth, the loop tries again each second.
"""

from typing import TypeAlias

from celery import Celery

Broker: TypeAlias = Celery
"""What messages go through; a producer here."""

TASK = "plumbline.work"
TIMEOUT_SECONDS = 2.0


def connect(broker_url: str) -> Broker:
    """A producer for the broker. Connects on first use."""
    app = Celery("plumbline.service", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_publish_retry=False,
        broker_connection_timeout=TIMEOUT_SECONDS,
        broker_connection_retry=False,
        broker_connection_retry_on_startup=False,
        broker_transport_options={
            "socket_timeout": TIMEOUT_SECONDS,
            "socket_connect_timeout": TIMEOUT_SECONDS,
            "max_retries": 0,
            "retry_policy": {"max_retries": 0},
        },
    )
    return app


def send(app: Broker, job_id: str, queue: str) -> None:
    """Tells the workers of a queue that a job is due.

    Raises:
        kombu.exceptions.OperationalError, OSError: when the broker does not answer.
    """
    app.send_task(TASK, args=[job_id], queue=queue, ignore_result=True, retry=False)


def reach(app: Broker) -> None:
    """Raises what `send` would raise if the broker cannot be reached now."""
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_max=0, timeout=TIMEOUT_SECONDS)


def workers_seen(app: Broker) -> int:
    """Workers that answer within half a second. A worker answers while it trains, too."""
    return len(app.control.ping(timeout=0.5))
