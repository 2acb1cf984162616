"""`python -m workers` is a worker: one process that takes messages, one pool child, one trainer."""

import logging
import os
import sys
from importlib import import_module

from workers import devices
from workers.settings import SettingsError, read_settings


def main() -> None:
    try:
        settings = read_settings()
        card = devices.take(settings.device, settings.artifacts / ".cards")
    except (SettingsError, devices.NoCard) as error:
        sys.exit(f"plumbline worker: {error}")
    os.environ["CUDA_VISIBLE_DEVICES"] = card.name if card else ""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # numpy reads them when imported: decisions must not crowd out training
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    application = import_module("workers.app")
    queues = [application.CPU_QUEUE, *([application.CUDA_QUEUE] if card else [])]
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING")
    application.app.worker_main(["worker", f"--hostname=plumbline-{os.getpid()}@%h", "-Q", ",".join(queues), *quiet])


if __name__ == "__main__":
    main()
