"""`python -m workers` is a worker: one process that takes messages, one pool child, one trainer.

A worker with a card serves both queues: what needs CUDA, which comes to no other, and whatever may run anywhere, which is
trained on the card, too. The latter is whoever's is free first: no worker is held back for a faster one that may be busy for
long or gone, and who wants a card and nothing else says `cuda`.
"""

import logging
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from workers import devices
from workers.settings import Settings, SettingsError, read_settings

log = logging.getLogger(__name__)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = read_settings()
        check_artifacts(settings)
        card = take_card(settings)
    except (SettingsError, devices.NoCard) as error:
        sys.exit(f"plumbline worker: {error}")
    os.environ["CUDA_VISIBLE_DEVICES"] = card.name if card else ""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # numpy reads them when imported: decisions must not crowd out training
    application = import_module("workers.app")
    queues = [application.CPU_QUEUE, *([application.CUDA_QUEUE] if card else [])]
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING")
    application.app.worker_main(["worker", f"--hostname=plumbline-{os.getpid()}@%h", "-Q", ",".join(queues), *quiet])


def check_artifacts(settings: Settings) -> None:
    """Asks about a URL in a process of its own: this one will fork, which an object store's client does not survive.

    Raises:
        SettingsError: in one line, when they cannot be written to.
    """
    code = "import sys; from workers.store.files import complaint; sys.exit(complaint(sys.argv[1]))"
    words = [sys.executable, "-c", code, settings.artifacts]
    if "://" in settings.artifacts:
        asked = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - ours
        if asked.returncode:
            raise SettingsError(asked.stderr.strip())


def take_card(settings: Settings) -> devices.Card | None:
    """A free card that torch can use, None where training is to be on the CPU.

    Raises:
        NoCard: when CUDA is insisted on and there is none.
    """
    card = devices.take(settings.device, Path(settings.locks))
    if card is None or devices.usable(card):
        return card
    card.lock.close()
    message = f"torch cannot use the CUDA card {card.name}: is it a build with CUDA, and the driver new enough for it?"
    if settings.device == "cuda":
        raise devices.NoCard(message)
    log.warning("%s Training on the CPU.", message)
    return None


if __name__ == "__main__":
    main()
