"""The forecast of networks with normalisations and shortcuts against autograd, on the slow twin of what the engine builds."""

from math import log10
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import DATASET, shard  # noqa: F401
