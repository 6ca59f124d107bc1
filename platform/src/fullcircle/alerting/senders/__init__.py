"""Senders of pages, one a kind of receiver: each takes a page and a route, and returns why it was not accepted."""
