"""What Grafana shows: the dashboards that come with the package, and how they get there."""
