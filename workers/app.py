"""The Celery application: messages say "this job has work", the database says everything else.

Messages are acknowledged before the work: a lost one is sent again because its job is still due, so nothing hangs on the
broker. Late acknowledgement would redeliver long slices and does not survive a restart of the broker.
"""

from celery import Celery

from workers.settings import Settings, read_settings

CPU_QUEUE = "plumbline.cpu"
CUDA_QUEUE = "plumbline.cuda"
SOCKET_SECONDS = 5.0
"""A broker that is silent for longer counts as gone."""


def create_app(settings: Settings) -> Celery:
    """The application for a worker of one process, which supervises one trainer."""
    app = Celery("plumbline", broker=settings.broker_url, include=["workers.tasks"])
    app.conf.update(
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_proc_alive_timeout=60.0,  # a busy machine may take its time to open the database
        worker_hijack_root_logger=False,
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,
        task_create_missing_queues=True,
        task_default_queue=CPU_QUEUE,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=SOCKET_SECONDS,
        broker_transport_options={
            "socket_timeout": SOCKET_SECONDS,
            "socket_connect_timeout": SOCKET_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return app


app = create_app(read_settings())
