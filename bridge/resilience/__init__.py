"""What keeps the loops going when something outside fails; pure, apart from the failpoints of the tests."""
