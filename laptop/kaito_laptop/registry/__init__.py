"""An OCI registry on loopback."""
