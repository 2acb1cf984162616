"""The public language of Plumbline: specs, results, shape inference. pydantic and the standard library only."""
