"""Slow twins: naive versions written from the papers, one number at a time, that the fast code is compared with."""
