"""Providers: what a call asks for, and what an answer used. One module per wire family."""
