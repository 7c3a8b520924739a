"""The keys of `alarms`: when somebody is told, and how."""

from bridge.config.kit import Section


class AlarmsConfig(Section):
    """When somebody is told, and how."""
