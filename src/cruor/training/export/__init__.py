"""Trained runs become a bundle.

`export.export_run` measures what it makes (`evidence`, `figures`); `retrained.export_retrained` takes what
was measured of another bundle. Both take networks from `members`, tell where they come from (`ancestry`,
`terms`), and write graph, manifest and card (`writing`, `card`).
"""
