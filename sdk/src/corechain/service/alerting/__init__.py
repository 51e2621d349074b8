"""Alerts: what an operator wants to know without asking, posted to receivers until they took it.

A service brings *rules* that say what is wrong now. `alerts.py` fires what has begun and resolves
what is over, `book.py` keeps both and the messages in the service's Postgres, `sender.py` posts
them, `sessions.py` are the loops. The service's migrations have the tables `alert` and `webhook`.
"""
