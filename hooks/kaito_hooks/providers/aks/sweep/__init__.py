"""The orphan sweep: finds pools whose Machine is gone, reports them, and deletes them after a grace.

`orphans.judge` decides and is pure; `python -m kaito_hooks.providers.aks.sweep` looks once, acts, and says what it did.
"""
