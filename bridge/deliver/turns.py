"""What a sink is sent next: streams and replays in turn, so that none of them waits for another to have nothing."""

import time
from collections.abc import Mapping

from bridge.deliver.feed import Feed, Load
from bridge.deliver.replays import Replay
from bridge.deliver.route import Route
from bridge.resilience.lanes import Entry


class Turns:
    """Whose turn it is.

    Args:
        route: how the sink is served.
        feeds: of its streams; the one that was asked goes to the end.
        replays: under way.
    """

    def __init__(self, route: Route, feeds: dict[str, Feed], replays: Mapping[str, Replay]) -> None:
        self._route = route
        self._feeds = feeds
        self._replays = replays
        self._is_replays_turn = False

    def take(self, limit: int) -> tuple[Feed, list[Entry[Load]]] | None:
        """Of a stream or of a replay, in turn, so that neither waits for the other to have nothing."""
        self._is_replays_turn = not self._is_replays_turn
        now_s = time.time()
        if self._is_replays_turn:
            return self._of_replay(limit, now_s) or self._of_stream(limit, now_s)
        return self._of_stream(limit, now_s) or self._of_replay(limit, now_s)

    def _of_stream(self, limit: int, now_s: float) -> tuple[Feed, list[Entry[Load]]] | None:
        for stream in list(self._feeds):  # in turn: the one that is asked goes to the end
            feed = self._feeds[stream] = self._feeds.pop(stream)
            if feed.is_ripe(self._route.batch_events, self._route.batch_s, now_s) and (
                entries := feed.lanes.take(limit, now_s=now_s)
            ):
                feed.taken_at(now_s)
                return feed, entries
        return None

    def _of_replay(self, limit: int, now_s: float) -> tuple[Feed, list[Entry[Load]]] | None:
        for replay in self._replays.values():
            if entries := replay.feed.lanes.take(limit, now_s=now_s):
                return replay.feed, entries
        return None
