"""TOML to frozen values: which services run where, and over what they talk."""
