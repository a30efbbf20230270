"""What the API server does with a pod beyond its own fields: LimitRange fills in and refuses, ResourceQuota counts."""
