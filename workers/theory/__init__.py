"""What a network's signal does at step 0, from its spec alone: mean-field theory in numpy and scipy, without torch."""
