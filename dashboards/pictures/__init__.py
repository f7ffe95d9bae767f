"""Pictures of the dashboards' panels, drawn from what a real Prometheus answers to their own queries.

They are no screenshots of Grafana, which draws its panels its own way: they show what the panels say.
"""
