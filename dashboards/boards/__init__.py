"""The Grafana dashboards, as code: one module for each, and what they are put together from.

`make dashboards` writes `dashboards/grafana/*.json` from them, which is what is shipped and what Grafana reads; a test
holds the two together. The format is Grafana's classic JSON, for its provisioning from files takes no other.

Source: grafana-foundation-sdk 0.0.21 (schemaVersion 42), Grafana 13.2, read in November 2026.
"""
