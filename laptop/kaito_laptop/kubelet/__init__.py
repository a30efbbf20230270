"""The kubelet: pods bound to a node run, as processes or as a story tells.

`containers` is the state of a pod and its status, `machine` decides what starts when, `agent` watches
the cluster; `scripted` and `processes` are the two ways in which a container runs.
"""
