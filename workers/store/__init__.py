"""The record of all work (SQLAlchemy) and the files of its results (Parquet). Service and workers share it; no torch."""
