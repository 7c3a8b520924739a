"""The outlets that a configuration asks for, by name."""

from bridge.alarm.outlet import Beat, Outlet
from bridge.alarm.wording import Words
from bridge.config.alarms import OutletConfig
from bridge.config.models import Config
from bridge.errors import ConfigError
from bridge.outlets.alertmanager import AlertmanagerOutlet
from bridge.outlets.chat import AppriseOutlet
from bridge.outlets.heartbeat import Heartbeat
from bridge.outlets.webhook import WebhookOutlet


def words_of(config: Config) -> Words:
    """What every text of this bridge has in common."""
    return Words(config.bridge.name, config.alarms.runbooks)


def build_outlets(config: Config) -> dict[str, Outlet]:
    """Every outlet that tells; nothing connects yet. Raises: ConfigError naming the outlet."""
    words, found = words_of(config), {}
    for name, declared in config.alarms.outlets.items():
        try:
            outlet = _outlet(declared, words)
        except ConfigError as error:
            raise ConfigError(f"alarms.outlets.{name}: {error.detail}", hint=error.hint) from error
        if outlet is not None:
            found[name] = outlet
    return found


def build_beats(config: Config) -> dict[str, Beat]:
    """Every outlet that only gives a sign of life."""
    declared = config.alarms.outlets.items()
    return {name: Heartbeat(each.heartbeat) for name, each in declared if each.heartbeat is not None}


def _outlet(declared: OutletConfig, words: Words) -> Outlet | None:
    if declared.webhook is not None:
        return WebhookOutlet(declared.webhook, words)
    if declared.alertmanager is not None:
        return AlertmanagerOutlet(declared.alertmanager, words)
    if declared.apprise is not None:
        return AppriseOutlet(declared.apprise, words)
    return None
