"""The kubelet: pods bound to a node run.

`containers` is the state of a pod and its status, `pod_lifecycle` decides what starts when, `agent`
watches the cluster, `processes` is the way in which a container runs.
"""
