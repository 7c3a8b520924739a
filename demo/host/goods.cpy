      * GOODS RECEIVED, ONE RECORD PER DELIVERY: 58 BYTES.
       01  GOODS-RECEIVED.
           05  GR-RECEIPT          PIC 9(9).
           05  GR-ITEM             PIC X(12).
           05  GR-DATE             PIC 9(7)        COMP-3.
           05  GR-QTY              PIC S9(8)V9(3)  COMP-3.
           05  GR-COST             PIC S9(9)V9(4)  COMP-3.
           05  GR-VENDOR           PIC X(20).
