"""The operator: two hooks of Metacontroller, `/workspace/*` and `/machine/*`.

`workspace` and `machine` decide, and are pure; `web`, `provisioner` and `providers` do the I/O. docs/architecture.md
draws the rooms, and import-linter holds the arrows between them.
"""
