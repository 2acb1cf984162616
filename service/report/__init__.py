"""A comparison for people: one page, its plots, and the same in Markdown and JSON. Nothing here draws on the network.

`material` gathers the numbers of each arm, `charts` says what each plot shows, `interactive` (plotly) and `paper` (matplotlib)
draw that, `words` says it, `document` puts it together, `routes` answers.
"""
