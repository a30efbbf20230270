"""The Kaito operator: two stateless Metacontroller hooks.

`workspace` and `machine` decide, and are pure; `web` and `aks` do the I/O. Arrows point down only:
web > aks > (workspace | machine) > (presets | metacontroller) > kube > (errors | settings).
"""
