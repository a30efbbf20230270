"""The programs inside the pods: check, pull, tune, push, serve. docs/pods.md is their contract."""
