"""Delivery: journal → selection → parcel → `Sink.send` → progress, one loop for every sink.

`thread` runs all sinks on one event loop and stores what they settled; `loop` decides for one sink what goes next and
what becomes of a failure; `feed` reads one stream, or one replay, for one sink.
"""
