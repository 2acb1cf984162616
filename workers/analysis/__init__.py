"""From trials to an answer: what runs in which round, which setting is best, how sure the figures are, what the signal does."""
