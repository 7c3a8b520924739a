"""The demo's mainframe: its records are those of the copybook, byte by byte."""

from dataclasses import replace

from demo.mainframe import Goods, record

GOODS = Goods("7", "I0000042", "1261126", "-12.5", "3.0001", "CAFÉ")


def test_a_record_is_ebcdic_with_packed_decimals() -> None:
    written = record(GOODS)
    assert len(written) == 58
    assert written[:9].hex() == "f0f0f0f0f0f0f0f0f7"
    assert written[9:21].hex() == "c9f0f0f0f0f0f4f240404040"
    assert written[21:25].hex() == "1261126f"
    assert written[25:31].hex() == "00000012500d"
    assert written[31:38].hex() == "0000000030001c"
    assert written[38:].hex() == "c3c1c671" + "40" * 16
    assert record(replace(GOODS, gr_qty="12.5"))[25:31].hex() == "00000012500c"


def test_a_spoilt_record_has_blanks_for_its_quantity() -> None:
    assert record(GOODS, is_spoilt=True)[25:31] == bytes.fromhex("40" * 6)
