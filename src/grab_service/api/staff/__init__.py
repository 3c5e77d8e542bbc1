"""The pages of staff: merchants and settlements, filled in here, usable without a script.

They are served where staff is served, ask for the same scopes as the API, and do what the command line
does, in the same words of the vault.  Who signs in puts his staff token into a cookie that no script
reads and no other site's page sends.
"""
