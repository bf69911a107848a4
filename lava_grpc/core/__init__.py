"""The rules. No I/O, clock, SQL, protobuf or framework in here."""
