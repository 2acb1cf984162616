"""What a step takes at which a group of statistics is measured, beside a step at which nothing is. The table is written by
`benchmarks.statistics_costs`, which says of what: whole training steps of a dense network of six layers, in torch on one thread. Ratios of
times, to about a fifth.
"""

from workers.contract.statistics import Group

TIME_WITH: dict[Group, float] = {
    # measured
    "backward": 2,
    "forward": 1.7,
    "update": 1.6,
    "trajectory": 1.6,
    "noise": 2.7,
    "histogram": 2.4,
    "units": 2,
    "rank": 2.1,
    "jacobian": 3.2,
    "curvature": 14,
    # end
}
