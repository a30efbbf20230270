"""check, pull and push: what moves between the pod, the registry and the web. No torch in here."""
