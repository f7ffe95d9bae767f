"""Who is told: rules for Prometheus, and messages for those who have no Alertmanager."""
