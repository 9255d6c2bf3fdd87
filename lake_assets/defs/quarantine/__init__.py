"""The quarantine: having rejected rows tried again."""
