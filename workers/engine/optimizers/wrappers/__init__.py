"""What stands round a rule: functions from a rule to a rule, so that neither the loop nor the rules know of them.

Their numbers arrive in `Hyper` as field and name, `clip.max_norm`, and what they remember stands in the rule's state under such names: a
checkpoint knows no difference. What a rule promises (rule.py), they promise, too.
"""

from collections.abc import Callable, Mapping

from workers.engine.optimizers.rule import Rule
from workers.engine.optimizers.wrappers import clip, decay, depth, lookahead, sam, schedule

Wrap = Callable[[Rule, int], Rule]
"""(rule, steps of the whole training) -> the rule with something round it."""

WRAPPERS: dict[str, dict[str, Wrap]] = {
    "depth_lr": {"power": depth.power, "exponential": depth.exponential, "auto": depth.auto},
    "added_decay": {"coupled": decay.coupled, "decoupled": decay.decoupled},
    "schedule": {kind: schedule.of(kind) for kind in schedule.FACTORS},
    "clip": {kind: clip.of(kind) for kind in clip.CLIPS},
    "sam": {"sam": sam.sam, "asam": sam.asam},
    "lookahead": {"lookahead": lookahead.lookahead},
}
"""Field and kind, as the contract spells them, from the rule outwards."""


def wrapped(rule: Rule, kinds: Mapping[str, str], steps: int) -> Rule:
    """The rule, and round it what is asked for: field to kind."""
    for field, table in WRAPPERS.items():
        if field in kinds:
            rule = table[kinds[field]](rule, steps)
    return rule


__all__ = ["WRAPPERS", "wrapped"]
