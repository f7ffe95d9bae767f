"""The Grafana dashboards, and how they come to a Grafana."""
