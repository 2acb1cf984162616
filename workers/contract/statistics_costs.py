"""What a step takes at which a group of statistics is measured, beside a step at which nothing is. The table is written by
`benchmarks.statistics_costs`, which says of what: whole training steps of a dense network of six layers, in torch on one thread. Ratios of
times, to about a fifth.
"""

from workers.contract.statistics import Group

TIME_WITH: dict[Group, float] = {
    # measured
    # end
}
