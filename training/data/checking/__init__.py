"""Looks at every record of a user's data as training will: what is in them, and which are bad (`parley data check`)."""
