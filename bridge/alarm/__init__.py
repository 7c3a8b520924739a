"""When somebody is told: rules over what was seen, the life of an alarm, silences, words. No I/O, no clock."""
