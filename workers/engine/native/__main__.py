"""`python -m workers.engine.native` compiles what most shards need, ahead of the first; its status says whether that went well."""

import logging

from workers.engine.native.build import PRECISIONS, prepare

logging.basicConfig(format="%(message)s")
raise SystemExit(not all(prepare(dtype) for dtype in PRECISIONS))
