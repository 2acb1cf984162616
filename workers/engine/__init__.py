"""The batched training engine: all trials of a shard as one program. torch lives only here."""
